"""Which results belong together: by data set, variant, tag, and by what makes a pair hard."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

ItemT = TypeVar("ItemT")


class Labelled(Protocol):
    """Anything that says where it belongs, such as a result or a case."""

    @property
    def source(self) -> str:
        """Data set."""

    @property
    def variant(self) -> str:
        """How the pair is presented."""

    @property
    def tag(self) -> str:
        """Conditions."""

    @property
    def positive(self) -> bool:
        """Whether there is anything to find."""


@dataclass(frozen=True)
class Group:
    """Some of the results.

    Attributes:
        title: What to call them.
        holds: Whether one of them belongs here.
    """

    title: str
    holds: Callable[[Labelled], bool]


#: Sources whose truth is good to a pixel, that together decide.
SENTINEL_2 = frozenset({"ombria", "ua_overview", "alps_b08"})
CLEAR, CLOUD, SNOW, SNOW_CLOUD, FLOOD = (
    "clear / clear",
    "cloud on either side",
    "snow / clear",
    "snow / cloud",
    "flood",
)
CONDITIONS = (CLEAR, CLOUD, SNOW, SNOW_CLOUD, FLOOD)


def condition(item: Labelled) -> str | None:
    """The season or weather a positive pair spans, None where its tag does not say.

    Tags are ``reference/target``, each ``clear``, ``snow`` or something with ``cloud`` in it; all
    pairs of OMBRIA span a flood.
    """
    if not item.positive:
        return None
    if item.source == "ombria":
        return FLOOD
    sides = item.tag.split("/")
    if len(sides) != 2:
        return None
    snow = any("snow" in side for side in sides)
    cloud = any("cloud" in side for side in sides)
    if snow:
        return SNOW_CLOUD if cloud else SNOW
    if cloud:
        return CLOUD
    return CLEAR if sides == ["clear", "clear"] else None


def _of(source: str, *variants: str) -> Callable[[Labelled], bool]:
    return lambda item: item.source == source and item.variant in variants


def _in(name: str) -> Callable[[Labelled], bool]:
    return lambda item: item.source == "ua_overview" and condition(item) == name


#: The rows by which matchers are compared; those without a case are left out.
GROUPS: tuple[Group, ...] = (
    Group("ombria near", _of("ombria", "near")),
    Group("ombria free", _of("ombria", "free")),
    Group("ua_overview near", _of("ua_overview", "near")),
    Group("ua_overview free", _of("ua_overview", "free")),
    *(Group(f"– of these {name}", _in(name)) for name in (CLEAR, CLOUD, SNOW, SNOW_CLOUD)),
    Group("alps_b08 near + free", _of("alps_b08", "near", "free")),
    Group("Sentinel-2 together", lambda item: item.positive and item.source in SENTINEL_2),
    Group("brenta_ndvi near + free", _of("brenta_ndvi", "near", "free")),
    Group("srif free", _of("srif", "near", "free")),
    Group("starainj free", _of("starainj", "near", "free")),
    Group("all positives", lambda item: item.positive),
)
CARD: tuple[Group, ...] = tuple(
    Group(name, lambda item, name=name: condition(item) == name)  # type: ignore[misc]
    for name in CONDITIONS
)


def values_of(items: Sequence[ItemT], key: Callable[[ItemT], str]) -> list[str]:
    """Distinct non-empty values in order of appearance."""
    return [value for value in dict.fromkeys(key(item) for item in items) if value]
