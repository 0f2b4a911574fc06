"""This checkout and older commits beside it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def checkouts(commits: Sequence[str]) -> Iterator[dict[str, Path]]:
    """Checks out commits in a temporary folder; yields ``this`` and them by name, with folders.

    Args:
        commits: As git names them.
    """
    with tempfile.TemporaryDirectory() as folder:
        trees = {"this": Path.cwd()}
        try:
            for commit in commits:
                tree = Path(folder, f"tree_{len(trees)}")
                _git("worktree", "add", "--quiet", "--detach", str(tree), commit)
                trees[commit] = tree
            yield trees
        finally:
            for tree in list(trees.values())[1:]:
                _git("worktree", "remove", "--force", str(tree))


def _git(*words: str) -> None:
    git = shutil.which("git")
    assert git is not None, "older commits are checked out by git"
    subprocess.run([git, *words], check=True)
