"""Experiments are few scripts, and every command that is printed for one is right."""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "experiments").rglob("*.py"))
}
PAGES = [ROOT / "README.md", *sorted((ROOT / "experiments").glob("**/README.md"))]
MOST_SCRIPTS, MOST_LINES = 12, 400


def printed(path: Path) -> list[tuple[str, list[str]]]:
    """The scripts that a file prints commands of, each with its arguments."""
    text = path.read_text(encoding="utf-8").replace("\\\n", " ")
    found = re.findall(r"python -m (experiments[\w.]*)([^`\n|\"]*)", text)
    return [(name, shlex.split(arguments, comments=True)) for name, arguments in found]


COMMANDS = [
    pytest.param(name, arguments, id=" ".join([name.removeprefix("experiments."), *arguments[:1]]))
    for path in [*PAGES, *SCRIPTS.values()]
    for name, arguments in printed(path)
    if arguments or path in PAGES
]


def parser_of(name: str) -> ArgumentParser:
    made: ArgumentParser = import_module(name).parser()
    return made


@pytest.mark.parametrize(("name", "arguments"), COMMANDS)
def test_a_printed_command_is_understood(name: str, arguments: list[str]) -> None:
    assert name in SCRIPTS
    parser_of(name).parse_args(arguments)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parser_of(name).parse_args(["--help"])
    assert ended.value.code == 0
    assert f"usage: {name}" in capsys.readouterr().out


def test_scripts_are_few_and_short_and_each_has_its_command_on_a_page() -> None:
    assert len(SCRIPTS) <= MOST_SCRIPTS
    lines = {name: len(path.read_text().splitlines()) for name, path in SCRIPTS.items()}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}
    assert {name for path in PAGES for name, _ in printed(path)} == set(SCRIPTS)


def test_a_file_that_a_page_names_is_there() -> None:
    missing = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
        named = re.findall(r"experiments/[\w./-]+\.(?:yaml|csv|py)", text)
        paths = [*(page.parent / link for link in links), *(ROOT / name for name in named)]
        missing += [str(path) for path in paths if not path.exists()]
    assert missing == []
