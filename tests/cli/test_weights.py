from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from imatch.core.errors import WeightsError
from imatch.models import weights
from imatch.models.weights import WEIGHTS, Bundled, WeightsFile

Run = Callable[..., Result]


@pytest.fixture
def fetched(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names that were asked of the network, which answers with nothing but their names."""
    asked: list[str] = []

    def fetch(name: str, *, overwrite: bool = False) -> WeightsFile:
        if name == "loftr-outdoor":
            raise WeightsError("no network", subject=name)
        asked.append(name)
        spec = WEIGHTS[name]
        path = empty_cache / spec.filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        return WeightsFile(spec, path, "cache", spec.sha256)

    monkeypatch.setattr(weights, "fetch_weights", fetch)
    return asked


def test_list_names_every_checkpoint_with_its_licence(run: Run, empty_cache: Path) -> None:
    lines = run("weights", "list").stdout.splitlines()
    assert len(lines) == len(WEIGHTS) + 1
    for name, spec in WEIGHTS.items():
        (line,) = [line for line in lines if line.startswith(f"{name} ")]
        assert ("imatch itself" if isinstance(spec.source, Bundled) else "missing") in line
        assert spec.licence in line


def test_list_as_json(run: Run, empty_cache: Path) -> None:
    rows = json.loads(run("weights", "list", "--format", "json").stdout)
    assert [row["name"] for row in rows] == list(WEIGHTS)
    for row in rows:
        comes_along = isinstance(WEIGHTS[row["name"]].source, Bundled)
        assert row["state"] == ("present" if comes_along else "missing")
    assert all(len(row["sha256"]) == (64 if row["size"] else 0) for row in rows)


def test_list_tells_a_corrupt_file(run: Run, empty_cache: Path) -> None:
    empty_cache.mkdir(parents=True)
    (empty_cache / "xfeat.pt").write_bytes(b"half a downl")
    rows = json.loads(run("weights", "list", "--format", "json").stdout)
    (row,) = [row for row in rows if row["state"] not in ("missing", "present")]
    assert (row["name"], row["state"]) == ("xfeat", "corrupt")
    assert "is corrupt" in row["problem"]


def test_fetch_by_name_by_matcher_and_once_each(run: Run, fetched: list[str]) -> None:
    result = run("weights", "fetch", "xfeat", "-m", "xfeat-lighterglue", "-m", "aliked-lightglue")
    assert result.exit_code == 0
    assert fetched == ["xfeat", "xfeat-lighterglue", "aliked-n16", "aliked-lightglue"]
    assert result.stdout == ""
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == [
        f"fetched {name}" for name in fetched
    ]


def test_fetch_all_default_leaves_out_what_its_licence_forbids(
    run: Run, fetched: list[str]
) -> None:
    result = run("weights", "fetch", "--all-default")
    # One that fails does not cost the others, yet the failure is told.
    away = [n for n, s in WEIGHTS.items() if s.default and not isinstance(s.source, Bundled)]
    assert fetched == [name for name in away if name != "loftr-outdoor"]
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "imatch: error: loftr-outdoor: no network"


def test_fetch_replaces_a_corrupt_file(run: Run, fetched: list[str], empty_cache: Path) -> None:
    empty_cache.mkdir(parents=True)
    (empty_cache / "xfeat.pt").write_bytes(b"half a downl")
    assert run("weights", "fetch", "xfeat").exit_code == 0
    assert fetched == ["xfeat"]


def test_fetch_does_not_hide_a_corrupt_file_that_is_found_first(
    run: Run, fetched: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xfeat.pt").write_bytes(b"half a downl")
    monkeypatch.setenv("IMATCH_WEIGHTS", str(tmp_path))
    result = run("weights", "fetch", "xfeat")
    assert result.exit_code == 1
    assert f"{tmp_path / 'xfeat.pt'}: is corrupt" in result.stderr


def test_fetch_nothing_is_a_usage_error(run: Run) -> None:
    result = run("weights", "fetch")
    assert result.exit_code == 2
    assert "--matcher NAME or --all-default" in result.stderr


def test_fetch_of_a_non_commercial_network_is_refused(run: Run, empty_cache: Path) -> None:
    result = run("weights", "fetch", "superpoint-v1")
    assert result.exit_code == 1
    assert "non-commercial" in result.stderr


def test_unknown_weights_are_answered_by_the_nearest(run: Run) -> None:
    for verb in ("fetch", "path"):
        result = run("weights", verb, "xfeet")
        assert result.exit_code == 1
        assert "did you mean 'xfeat'?" in result.stderr


def test_an_unknown_verb_of_the_group_is_answered_by_the_nearest(run: Run) -> None:
    result = run("weights", "fech")
    assert result.exit_code == 2
    assert "did you mean 'fetch'?" in result.stderr


def test_path_of_the_cache_and_of_a_file(
    run: Run, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("weights", "path").stdout == f"{empty_cache}\n"
    content = b"a network"
    spec = WEIGHTS["xfeat"]
    monkeypatch.setattr(
        "imatch.models.store.spec_of",
        lambda _name: type(spec)(
            **{
                **vars(spec),
                "sha256": hashlib.sha256(content).hexdigest(),
                "size": len(content),
            }
        ),
    )
    (tmp_path / "xfeat.pt").write_bytes(content)
    monkeypatch.setenv("IMATCH_WEIGHTS", str(tmp_path))
    assert run("weights", "path", "xfeat").stdout == f"{tmp_path / 'xfeat.pt'}\n"


def test_path_of_what_is_missing(run: Run, empty_cache: Path) -> None:
    result = run("weights", "path", "xfeat")
    assert result.exit_code == 1
    assert "run imatch weights fetch xfeat" in result.stderr
