from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from click.testing import Result

Run = Callable[..., Result]
Pair = tuple[Path, Path]


def test_a_result_becomes_a_page(run: Run, pair: Pair, tmp_path: Path) -> None:
    result, page = tmp_path / "r.json", tmp_path / "page.html"
    assert run("match", *pair, "-m", "sift", "-o", result).exit_code == 0
    done = run("view", result, "-o", page, "--no-open", "--max-bytes", "2MB")
    assert done.exit_code == 0
    assert done.stderr.startswith(f"wrote {page} (0.")
    assert page.stat().st_size < 2_000_000
    again = run("view", result, "-o", page, "--no-open")
    assert again.exit_code == 1
    assert again.stderr.count("\n") == 1


def test_images_that_moved_are_named_anew(run: Run, pair: Pair, tmp_path: Path) -> None:
    result = tmp_path / "r.json"
    run("match", *pair, "-m", "sift", "-o", result)
    moved = pair[0].rename(tmp_path / "moved.tif")
    assert run("view", result, "--no-open").exit_code == 1
    assert not (tmp_path / "r_view.html").exists()
    assert run("view", result, "--no-open", "--ref", moved).exit_code == 0
