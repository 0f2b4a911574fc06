from __future__ import annotations

import base64

import pytest
from jinja2 import UndefinedError

from imatch.export.html import HtmlCell, HtmlTable, render, templates
from tests.support.html_tags import Tags


def filled(body: str, **values: object) -> str:
    """A page of a title, a heading and a lead, and of this body."""
    source = (
        '{% extends "page.html.j2" %}{% import "parts.html.j2" as parts with context %}'
        "{% block title %}{{ title }}{% endblock %}{% block lead %}{{ lead }}{% endblock %}"
        "{% block body %}" + body + "{% endblock %}"
    )
    values = {"title": "a < b", "lead": "<lead>", **values}
    return templates().from_string(source).render(values, titles=[])


def table_html(table: HtmlTable, words: bool = False) -> str:
    return filled("{{ parts.table(table, words) }}", table=table, words=words)


def test_a_page_links_to_each_of_its_sections_and_loads_nothing() -> None:
    text = filled(
        '{% call parts.section("One thing?") %}<p>x</p>{% endcall %}'
        '{% call parts.section("Empty") %} {% endcall %}'
        '{% call parts.section("Two") %}{{ parts.figure(*picture) }}{% endcall %}',
        picture=(b"<svg/>", "svg+xml", 'what "it" shows', "see `<here>`"),
    )
    tags = Tags(text)
    assert [v for tag, name, v in tags.attributes if (tag, name) == ("a", "href")] == [
        "#one-thing",
        "#two",
    ]
    identifiers = {value for _, name, value in tags.attributes if name == "id"}
    assert identifiers == {"one-thing", "two"}
    sources = [value for _, name, value in tags.attributes if name == "src"]
    assert sources == ["data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode()]
    assert "a < b" in tags.text
    assert "<lead>" in tags.text
    assert ("img", "alt", 'what "it" shows') in tags.attributes
    assert "<code>&lt;here&gt;</code>" in text
    assert "<script" not in text


def test_a_page_that_is_not_given_what_it_shows_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'failures' is undefined"):
        render("batch.html.j2")


@pytest.mark.parametrize("page", ["quality", "batch"])
def test_styles_and_scripts_reach_a_page_as_they_are(page: str) -> None:
    for suffix in ("css", "js"):
        name = f"{page}.{suffix}"
        source, *_ = templates().loader.get_source(templates(), name)  # type: ignore[union-attr]
        assert templates().get_template(name).render() == source


def test_a_table_reads_the_same_in_both_languages() -> None:
    table = HtmlTable("T", "of `x`", ("name", "n"), ((HtmlCell("a|b"), HtmlCell("<1>", 1.0)),))
    html = Tags(table_html(table))
    assert "a|b" in html.text
    assert "<1>" in html.text
    assert ("td", "style", "background: rgba(0, 158, 115, 0.32)") in html.attributes
    assert table.to_markdown() == ("## T\n\nof `x`\n\n| name | n |\n|---|---:|\n| a\\|b | <1> |\n")


def test_words_are_read_from_the_left_and_long_ones_are_broken() -> None:
    row = (HtmlCell("a"), HtmlCell("1"), HtmlCell("ok"), HtmlCell("far " * 20), HtmlCell("2"))
    table = HtmlTable("T", "", ("name", "n", "status", "why", "m"), (row,), ("status", "why"))
    attributes = Tags(table_html(table)).attributes
    assert [(t, v) for t, n, v in attributes if n == "class" and t in ("th", "td")] == [
        *[("th", "word")] * 3,
        *[("td", "word")] * 2,
        ("td", "word long"),
    ]
    assert ("table", "class", "words") in Tags(table_html(table, words=True)).attributes
    assert "|---|---:|---|---|---:|" in table.to_markdown()


def test_definitions_escape_names_and_texts() -> None:
    html = filled("{{ parts.definitions(facts) }}", facts=[("a<", "b `c`")])
    assert "<dl>\n<dt>a&lt;</dt><dd>b <code>c</code></dd>\n</dl>" in html


def test_a_row_of_another_length_is_no_row() -> None:
    with pytest.raises(ValueError, match="'Peers': a row has not 2 cells"):
        HtmlTable(
            "Peers", "", ("name", "seconds"), ((HtmlCell("a"), HtmlCell("1"), HtmlCell("2")),)
        )
