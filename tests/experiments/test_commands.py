"""Experiments are few scripts, and every command that is printed for one is right.

A folder with a ``__main__.py`` is one script of several modules, and there is one of those.
"""

from __future__ import annotations

import re
import shlex
from argparse import ArgumentParser
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts): path
    for path in sorted((ROOT / "experiments").rglob("*.py"))
}
PACKAGES = {
    name.removesuffix(".__main__"): path
    for name, path in MODULES.items()
    if path.stem == "__main__"
}
SCRIPTS = PACKAGES | {
    name: path for name, path in MODULES.items() if name.rpartition(".")[0] not in PACKAGES
}
PAGES = [
    ROOT / "README.md",
    ROOT / "docs" / "how-to" / "mountains.md",
    *sorted((ROOT / "experiments").glob("**/README.md")),
]
MOST_SCRIPTS, MOST_PACKAGES, MOST_MODULES, MOST_LINES = 12, 1, 14, 400


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
    module = f"{name}.__main__" if name in PACKAGES else name
    made: ArgumentParser = import_module(module).parser()
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
    assert len(SCRIPTS) - len(PACKAGES) <= MOST_SCRIPTS
    assert len(PACKAGES) <= MOST_PACKAGES
    for path in PACKAGES.values():
        assert len(list(path.parent.rglob("*.py"))) <= MOST_MODULES
    lines = {name: len(path.read_text().splitlines()) for name, path in MODULES.items()}
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
