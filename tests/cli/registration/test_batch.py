from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray

from imatch.cli.options.values import parse_size

if TYPE_CHECKING:
    from tests.cli.conftest import WriteImage

# What comes of the work is asked here, not how its processes begin.
pytestmark = pytest.mark.usefixtures("warm_workers")

Run = Callable[..., Result]


@pytest.fixture
def table(write_image: WriteImage, ground: NDArray[np.uint16]) -> Path:
    """Two pairs of one reference, a hopeless one between them."""
    write_image("ref.tif", ground[:128, :128])
    write_image("one.tif", ground[:128, 2:130])
    blank = write_image("blank.tif", np.full((128, 128), 7, np.uint16))
    last = write_image("two.tif", ground[:128, 4:132])
    rows = ["reference,target,name", "ref.tif,one.tif,one", "ref.tif,blank.tif,blank"]
    path = blank.parent / "pairs.csv"
    path.write_text("\n".join([*rows, f"ref.tif,{last},two"]))
    return path


def test_a_batch_from_the_command_line(run: Run, table: Path) -> None:
    out = table.parent / "out"
    arguments = ["batch", table, "-o", out, "-m", "sift", "--cache", table.parent / "cache"]
    done = run(*arguments, "--export", "csv")
    assert done.exit_code == 3, done.stderr
    assert done.stdout.startswith("2 of 3 registered (2 ok, 1 failed)\n95 % bound: median 0.")
    assert "blank  failed  " in done.stdout
    assert done.stderr == f"wrote {out / 'report.html'}\n"
    assert {path.name for path in (out / "results").iterdir()} >= {"one.json", "one.csv"}
    assert {path.name for path in out.iterdir()} >= {"results.csv", "summary.json", "report.html"}

    refused = run(*arguments, "--export", "csv")
    assert refused.exit_code == 1
    assert "already holds a batch; pass --resume" in refused.stderr
    other = run(*arguments, "--resume")
    assert other.exit_code == 2
    assert "exports was ['.csv'] and is []" in other.stderr
    again = run(*arguments, "--export", "csv", "--resume", "--format", "json")
    assert again.exit_code == 3
    summary = json.loads(again.stdout)
    assert (summary["registered"], len(summary["sittings"])) == (2, 2)
    assert summary["failures"] == ["blank"]

    (table.parent / "two.tif").write_bytes(b"")
    broken = run(*arguments, "--export", "csv", "--resume", "-q")
    assert broken.exit_code == 1
    assert broken.stderr == ""
    assert "two    error" in broken.stdout


def test_folders(run: Run, table: Path, tmp_path: Path) -> None:
    table.unlink()
    # All in the folder but the reference and the blank one.
    (tmp_path / "blank.tif").unlink()
    done = run(
        *("batch", tmp_path, "-o", tmp_path / "out", "--reference", "ref.tif", "-m", "sift"),
        *("--no-cache", "--register", "--res", 20, "-s", "window=32"),
    )
    assert done.exit_code == 0, done.stderr + done.stdout
    assert {path.name for path in (tmp_path / "out" / "registered").iterdir()} == {
        "ref__one.tif",
        "ref__two.tif",
    }


@pytest.mark.parametrize(
    ("arguments", "cause"),
    [
        (["--resume", "--overwrite"], "--resume and --overwrite contradict each other"),
        (["--all-pairs"], "--reference, --all-pairs and --max-gap take a folder"),
        (["--pair-by", "date"], "--pair-by takes two folders"),
        (["--export", "xyz"], "xyz: unknown format"),
        (["--cache-size", "big"], "'big' is no size such as 500MB or 2GB"),
        (["-s", "spacing=3"], "spacing: is no setting"),
        (
            ["--dask", "nowhere"],
            "nowhere: is no scheduler's address; give local or tcp://HOST:8786",
        ),
    ],
)
def test_what_makes_no_sense(run: Run, table: Path, arguments: list[str], cause: str) -> None:
    done = run("batch", table, "-o", table.parent / "out", "-m", "sift", "--no-cache", *arguments)
    assert done.exit_code == 2
    assert cause in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (table.parent / "out").exists()


def test_one_folder_needs_to_know_what_is_paired(run: Run, tmp_path: Path) -> None:
    done = run("batch", tmp_path, "-o", tmp_path / "out")
    assert done.exit_code == 2
    assert "one folder needs --reference FILE or --all-pairs" in done.stderr
    both = run("batch", tmp_path, tmp_path, "-o", tmp_path / "out", "--all-pairs")
    assert "--reference and --all-pairs take one folder" in both.stderr


def test_missing_images_are_all_told(run: Run, table: Path) -> None:
    for name in ("one.tif", "two.tif"):
        (table.parent / name).unlink()
    done = run("batch", table, "-o", table.parent / "out", "-m", "sift", "--no-cache")
    assert done.exit_code == 1
    assert done.stderr.count("\n") == 1
    assert "2 of the images do not exist" in done.stderr
    assert "one.tif" in done.stderr
    assert "two.tif" in done.stderr


def test_sizes() -> None:
    context, option = click.Context(click.Command("c")), click.Option(["--cache-size"])
    sizes = {text: parse_size(context, option, text) for text in ("2GB", "500 mb", "1.5k", "77")}
    assert sizes == {"2GB": 2 * 10**9, "500 mb": 5 * 10**8, "1.5k": 1500, "77": 77}
    assert parse_size(context, option, None) is None
    for wrong in ("", "GB", "-1GB", "2XB", "0"):
        with pytest.raises(click.BadParameter):
            parse_size(context, option, wrong)


def test_a_cache_that_nobody_asked_for_is_done_without(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not by chmod: the super-user may write anywhere.
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    table.write_text("\n".join(table.read_text().splitlines()[:2]))
    done = run("batch", table, "-o", tmp_path / "out", "-m", "sift")
    assert done.exit_code == 0, done.stderr
    assert f"no features are kept: {tmp_path / 'file' / 'imatch'} cannot hold" in done.stderr
    command = ["batch", table, "-o", tmp_path / "other", "-m", "sift"]
    refused = run(*command, "--cache", tmp_path / "file")
    assert refused.exit_code == 1
    assert "cannot hold a cache" in refused.stderr
    monkeypatch.setenv("IMATCH_CACHE", str(tmp_path / "file"))
    assert run(*command).stderr == refused.stderr
