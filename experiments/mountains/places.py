"""Generated sentences about places, people and things that are no mountains."""

from __future__ import annotations

import numpy as np

from experiments.mountains.sentences import Sentence, words_of

_CITIES = (
    "Aberdeen Accra Adelaide Aleppo Ankara Athens Baghdad Bangkok Belfast Berlin Bogota Boston"
    " Brisbane Brussels Bucharest Cairo Calgary Cardiff Chicago Cologne Colombo Dakar Damascus"
    " Denver Detroit Dhaka Dublin Durban Geneva Hamburg Hanoi Harare Havana Helsinki Houston"
    " Istanbul Jakarta Kabul Kampala Karachi Khartoum Kyiv Lagos Lahore Lima Lisbon London Lyon"
    " Madrid Manila Melbourne Mexico_City Miami Milan Minsk Monrovia Moscow Mumbai Munich Nairobi"
    " New_Delhi New_Orleans New_York Osaka Oslo Ottawa Paris Perth Phoenix Portland Prague Quito"
    " Riga Rio_de_Janeiro Riyadh Rome San_Antonio Santiago Sarajevo Seattle Seoul Singapore Sofia"
    " Stockholm Sydney Taipei Tbilisi Tehran Tokyo Toronto Tripoli Tunis Vancouver Vienna Vilnius"
    " Warsaw Wellington Zagreb Zurich Beverly_Hills Little_Rock Mountain_View Rapid_City"
    " Colorado_Springs Palm_Springs Forest_Hills Chapel_Hill Capitol_Hill Notting_Hill Stone_Town"
).split()
_REGIONS = (
    "Alabama Alaska Andalusia Bavaria Brazil British_Columbia Brittany California Catalonia Chile"
    " China Colorado Crimea Darfur Egypt Ethiopia France Ghana Greece Guinea Haiti India Indonesia"
    " Iran Iraq Israel Italy Japan Kashmir Kenya Lebanon Liberia Libya Louisiana Maharashtra Mali"
    " Mexico Montana Myanmar Nepal Nevada New_Zealand Nigeria Normandy Norway Ontario Oregon"
    " Pakistan Peru Poland Punjab Quebec Queensland Russia Scotland Serbia Sierra_Leone Somalia"
    " South_Africa Spain Sudan Sweden Syria Tamil_Nadu Tennessee Texas Thailand Tibet Tuscany"
    " Turkey Uganda Ukraine Utah Venezuela Vermont Vietnam Virginia Wales West_Virginia Wyoming"
    " Yemen Zambia the_Middle_East the_Balkans the_Gulf_Coast the_West_Bank Southeast_Asia"
).split()
_WATERS = (
    "the_Amazon the_Danube the_Nile the_Rhine the_Mississippi_River the_Ganges the_Volga the_Thames"
    " the_Black_Sea the_Baltic_Sea the_Gulf_of_Mexico the_Persian_Gulf Lake_Victoria Lake_Geneva"
    " Lake_Michigan Lake_Baikal the_Colorado_River the_Columbia_River the_Yangtze the_Mekong"
    " the_Pacific_Ocean the_Strait_of_Hormuz the_Suez_Canal the_English_Channel San_Francisco_Bay"
).split()
_PEOPLE = (
    "Anna_Hill Peter_Mount Rocky_Marciano Winston_Churchill Maria_Ridge James_Peak Elena_Montes"
    " Tom_Fells Sir_Edmund_Hillary Ambrose_Burnside John_Berg Susan_Summit Paul_Rainier George_Logan"
    " Ben_Nevin Lauryn_Hill Benny_Hill Jonah_Hill President_McKinley General_Sherman Mr._Everest"
    " Aisha_Khan Chen_Wei Ivan_Petrov Carlos_Sierra David_Cook Captain_Cook Mary_Elbert"
).split()
_THINGS = (
    "Mount_Sinai_Hospital Rocky_Mountain_News Blue_Ridge_Bank Mountain_Dew Sierra_Club"
    " Everest_College Alpine_Linux Summit_Entertainment the_Hill_newspaper Peak_District_Council"
    " Vesuvius_Records Olympus_Corporation the_Olympic_Games Black_Hills_Corporation"
    " Denali_Therapeutics Fuji_Television Fujifilm Atlas_Air Table_Mountain_Records Snowdon_Trust"
    " the_Rockies_baseball_team the_White_House the_Red_Cross the_World_Bank Green_Mountain_Coffee"
    " Ararat_Brandy Pikes_Peak_Library_District Shasta_High_School Rainier_Beer Mont_Blanc_pens"
).split()
_TEMPLATES = (
    "Police in {city} said on Monday that two people had been arrested .",
    "The outbreak spread from {city} to {region} within a week , the ministry said .",
    "{person} was born in {city} , {region} , and moved to {region} in 1987 .",
    "Health officials in {region} confirmed 14 new cases near {city} and {city} .",
    "Flights from {city} to {city} were cancelled because of the storm .",
    "The barge sank in {water} , some 20 km south of {city} .",
    "{person} told reporters that {thing} would close its office in {city} .",
    "After the flood , {water} rose by two metres above its level in {region} .",
    "{thing} announced a partnership with a company from {region} .",
    "The bridge over {water} links {city} with {city} .",
    "{person} , a spokesman of {thing} , declined to comment .",
    "Voters in {region} and {region} went to the polls on Tuesday .",
    "A court in {city} sentenced {person} to three years in prison .",
    "The shares of {thing} fell by 4 % in {city} .",
    "{city} , {city} and {city} will be the hosts of the tournament .",
    "Troops withdrew from {city} towards {water} before dawn .",
    "She studied law at the University of {city} before she joined {thing} .",
    "The museum in {city} , {region} , shows works by {person} .",
)


def other_sentences(seed: int, count: int = 600) -> list[Sentence]:
    """Makes sentences that name places, people and things but no mountain.

    The names are common knowledge, many of them like those of mountains; none of the sentences is
    taken from anywhere.

    Args:
        seed: Of the choice.
        count: How many.
    """
    rng = np.random.default_rng([seed, count])
    names = {
        "{city}": _CITIES,
        "{region}": _REGIONS,
        "{water}": _WATERS,
        "{person}": _PEOPLE,
        "{thing}": _THINGS,
    }
    sentences = []
    for number in range(count):
        text = _TEMPLATES[int(rng.integers(len(_TEMPLATES)))]
        for slot, choices in names.items():
            while slot in text:
                name = choices[int(rng.integers(len(choices)))].replace("_", " ")
                text = text.replace(slot, name, 1)
        text = text[0].upper() + text[1:]
        tokens = tuple(text[a:b] for a, b in words_of(text))
        sentences.append(Sentence(tokens, (), f"generated {number}"))
    return sentences
