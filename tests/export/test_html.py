from __future__ import annotations

import base64
from html.parser import HTMLParser

import pytest

from imatch.export.html import HtmlCell, HtmlTable, definitions, image, page, table_html


class Tags(HTMLParser):
    """The tags of a page, checked to be closed in turn."""

    VOID = frozenset({"meta", "img", "br", "link", "input"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_page_links_to_each_of_its_sections_and_loads_nothing() -> None:
    picture = image(b"<svg/>", "svg+xml", 'what "it" shows', "see `here`")
    text = page("a < b", "A & B", "<lead>", [("One thing?", "<p>x</p>"), ("Two", picture)])
    tags = Tags(text)
    assert [v for tag, name, v in tags.attributes if (tag, name) == ("a", "href")] == [
        "#one-thing",
        "#two",
    ]
    identifiers = {value for _, name, value in tags.attributes if name == "id"}
    assert identifiers == {"one-thing", "two"}
    sources = [value for _, name, value in tags.attributes if name == "src"]
    assert sources == ["data:image/svg+xml;base64," + base64.b64encode(b"<svg/>").decode()]
    assert "A & B" in tags.text
    assert "<lead>" in tags.text
    assert ("img", "alt", 'what "it" shows') in tags.attributes
    assert "<code>here</code>" in text
    assert "<script" not in text


def test_style_and_script_of_a_page_are_its_own() -> None:
    text = page("t", "h", "l", [], style="p { margin: 0 }", script="let x = 1 < 2;")
    assert text.count("<style>") == 1
    assert "p { margin: 0 }" in text
    assert text.endswith("<script>let x = 1 < 2;</script></body></html>\n")


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
    classes = [(t, v) for t, n, v in Tags(table_html(table)).attributes if n == "class"][1:]
    assert classes == [
        *[("th", "word")] * 3,
        *[("td", "word")] * 2,
        ("td", "word long"),
    ]
    assert "|---|---:|---|---|---:|" in table.to_markdown()


def test_definitions_escape_names_and_texts() -> None:
    assert definitions([("a<", "b `c`")]) == "<dl><dt>a&lt;</dt><dd>b <code>c</code></dd></dl>"


def test_a_row_of_another_length_is_no_row() -> None:
    with pytest.raises(ValueError, match="'Peers': a row has not 2 cells"):
        HtmlTable(
            "Peers", "", ("name", "seconds"), ((HtmlCell("a"), HtmlCell("1"), HtmlCell("2")),)
        )
