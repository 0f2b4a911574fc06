"""The pages of docs/ name what there is, and the schema they publish is that of what is written."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import jsonschema
import numpy as np
import pytest
import yaml

import imatch
from imatch.cli import cli

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGES = sorted(path for path in DOCS.rglob("*.md"))
FOLDER = ROOT / "data" / "sample"
SAMPLE = FOLDER / "bouconne_2018-08.tif", FOLDER / "bouconne_2018-11.tif"
SCHEMA = json.loads((DOCS / "reference" / "registration.schema.json").read_text())
# Of pip, docker, make and WikiExtractor, which the pages call as well.
FOREIGN = {"--rm", "--index-url", "--json", "--links"}


def pages_of(nav: Any) -> Iterator[str]:
    for item in nav if isinstance(nav, list) else [nav]:
        if isinstance(item, dict):
            for part in item.values():
                yield from pages_of(part)
        else:
            yield item


def options_of(command: click.Command, context: click.Context) -> Iterator[str]:
    for parameter in command.params:
        yield from parameter.opts
        yield from parameter.secondary_opts
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            part = command.get_command(context, name)
            assert part is not None
            yield from options_of(part, context)


def script_options(text: str) -> Iterator[str]:
    """Options of the packages of `experiments` that a page names commands of."""
    for name in set(re.findall(r"python -m (experiments\.\w+) ", text)):
        parsers = [import_module(f"{name}.__main__").parser()]
        while parsers:
            for action in parsers.pop()._actions:
                yield from action.option_strings
                if isinstance(action.choices, dict):
                    parsers += action.choices.values()


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    named = set(pages_of(yaml.safe_load(text)["nav"]))
    there = {str(path.relative_to(DOCS)) for path in [*PAGES, *DOCS.rglob("*.ipynb")]}
    assert named == there


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_options_that_pages_name_exist(page: Path) -> None:
    text = page.read_text().replace("\\\n", "")
    known = {*options_of(cli, click.Context(cli)), *script_options(text), "--help", *FOREIGN}
    # A benchmark's own options are those of its script.
    lines = [line for line in text.splitlines() if "experiments." not in line]
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", "\n".join(lines))) <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_python_on_pages_can_be_parsed_and_names_what_exists(page: Path) -> None:
    text = page.read_text()
    for block in re.findall(r"^( *)```python\n(.*?)^ *```", text, flags=re.DOTALL | re.MULTILINE):
        indent, code = block
        compile(re.sub(rf"^{indent}", "", code, flags=re.MULTILINE), str(page), "exec")
        for name in re.findall(r"\bimatch\.(\w+)", code):
            assert hasattr(imatch, name), name


def test_the_lines_beside_other_packages_run(tmp_path: Path) -> None:
    page = (DOCS / "benchmarks" / "others.md").read_text()
    code = re.search(r'=== "imatch"\n\n    ```python\n(.*?)    ```', page, flags=re.DOTALL)
    assert code is not None
    lines = re.sub("^    ", "", code[1], flags=re.MULTILINE)
    for name, path in zip(("reference.tif", "target.tif"), SAMPLE, strict=True):
        lines = lines.replace(f'"{name}"', repr(str(path)))
    out = tmp_path / "registered.tif"
    script = tmp_path / "lines.py"
    script.write_text(lines.replace('"registered.tif"', repr(str(out))))
    runpy.run_path(str(script))
    assert out.stat().st_size > 0


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_what_is_written_is_valid_by_the_schema(status: str, tmp_path: Path) -> None:
    if status == "ok":
        found = imatch.match(*SAMPLE, tolerance="0.1px")
    else:
        flat = np.zeros((80, 80))
        found = imatch.match(flat, flat)
    assert found.status == status
    path = tmp_path / "result.json"
    found.save(path)
    document = json.loads(path.read_text())
    jsonschema.validate(document, SCHEMA)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"status": "fine"}, SCHEMA)


def test_a_local_registration_is_valid_by_the_schema() -> None:
    found = imatch.register(*SAMPLE, ref_bands=["B8"], tgt_bands=["B8"])
    jsonschema.validate(json.loads(json.dumps(found.to_dict())), SCHEMA)


def test_each_feature_is_backed_by_tests_that_exist() -> None:
    text = (DOCS / "benchmarks" / "features.md").read_text()
    (table,) = re.findall(r"^\| feature .*?\n\n", text, re.MULTILINE | re.DOTALL)
    header, _, *rows = [line.strip("| \n").split(" | ") for line in table.strip().splitlines()]
    assert (header[0], header[-1]) == ("feature", "test")
    for row in rows:
        assert len(row) == len(header)
        named = re.findall(r"`([^`]+)`", row[-1])
        assert named
        for name in named:
            path = ROOT / name
            tests = [path] if path.suffix == ".py" else [*path.rglob("test_*.py")]
            assert any("def test_" in test.read_text() for test in tests), name
