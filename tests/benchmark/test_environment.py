from __future__ import annotations

import json
import subprocess
from pathlib import Path

from imatch.benchmark.environment import commit, environment


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    command = ["git", "-C", str(folder), *who, *arguments]
    subprocess.run(command, check=True, capture_output=True)


def test_the_commit_and_whether_files_differ_from_it(tmp_path: Path) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git(tmp_path, "init", "-q")
    assert commit(package) is None  # Inside a repository, yet no part of it.
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    clean = commit(package)
    assert clean is not None
    assert (len(clean["hash"]), clean["dirty"]) == (40, False)
    (package / "__init__.py").write_text("changed")
    assert commit(package) == {**clean, "dirty": True}


def test_no_repository_is_no_commit(tmp_path: Path) -> None:
    assert commit(tmp_path) is None


def test_the_environment_is_json() -> None:
    here = environment("imatch bench x.csv")
    assert json.loads(json.dumps(here)) == here
    assert here["command"] == "imatch bench x.csv"
    assert here["machine"]["cores"] >= 1
    assert here["versions"]["imatch"]
