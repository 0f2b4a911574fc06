"""The house stays one that a newcomer can hold in mind."""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted((ROOT / "imatch").rglob("*.py"))
}
TREES = {name: ast.parse(path.read_text(encoding="utf-8")) for name, path in MODULES.items()}
MOST_MODULES, MOST_LINES, MOST_VERB_LINES = 14, 400, 150


def test_a_class_name_means_one_thing() -> None:
    homes = defaultdict(list)
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(module)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}


def test_a_folder_can_be_overlooked() -> None:
    counts = Counter(path.parent.relative_to(ROOT).as_posix() for path in MODULES.values())
    assert {folder: n for folder, n in counts.items() if n > MOST_MODULES} == {}


def test_a_module_can_be_read_at_one_sitting() -> None:
    lines = {name: len(source(name).splitlines()) for name in MODULES}
    assert {name: n for name, n in lines.items() if n > MOST_LINES} == {}
    verbs = {name: n for name, n in lines.items() if "@click.command" in source(name)}
    assert "imatch.cli.registration.match" in verbs
    assert {name: n for name, n in verbs.items() if n > MOST_VERB_LINES} == {}


def test_no_imports_run_in_a_circle() -> None:
    """Nor those inside functions; only what is imported for type checkers may."""
    graph = {name: set(needed(name)) for name in MODULES}
    assert any(graph.values())
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def source(name: str) -> str:
    """The text of a module."""
    return MODULES[name].read_text(encoding="utf-8")


def needed(name: str) -> Iterator[str]:
    """Modules of ours that a module imports."""
    for node in running(TREES[name]):
        if isinstance(node, ast.ImportFrom) and node.module in MODULES:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                yield inner if inner in MODULES else node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)


def running(node: ast.AST) -> Iterator[ast.AST]:
    """The nodes of a module but for what is under ``if TYPE_CHECKING``."""
    for child in ast.iter_child_nodes(node):
        yield child
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        yield from running(child)
