"""What the command line makes of URLs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import rasterio
from click.testing import Result
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tests.cli.conftest import WriteImage
    from tests.conftest import Web

Run = Callable[..., Result]


@pytest.fixture
def signed(web: Web, write_image: WriteImage, ground: NDArray[np.uint16]) -> Callable[[str], str]:
    """The signed URL of three views of one ground."""
    for number, name in enumerate(("one.tif", "two.tif", "three.tif")):
        write_image(name, ground[:192, 2 * number : 192 + 2 * number]).rename(web.root / name)

    def url(name: str) -> str:
        return web.url(name, user="me:SECRET", query="?X-Amz-Signature=SECRET&sig=a/SECRET%3D")

    return url


def told_nowhere(folder: Path, *results: Result) -> None:
    for result in results:
        assert "SECRET" not in result.output, result.output
    for path in folder.rglob("*"):
        assert "SECRET" not in str(path)
        if path.is_file():
            assert b"SECRET" not in path.read_bytes(), path


@pytest.fixture(autouse=True)
def _argv(monkeypatch: pytest.MonkeyPatch) -> None:
    url = "https://me:SECRET@host/a.tif?sig=SECRET"
    monkeypatch.setattr("sys.argv", ["imatch", "some", url, "-s", f"mask={url}"])


def test_a_match_of_signed_urls_tells_no_secret(
    run: Run, web: Web, signed: Callable[[str], str], tmp_path: Path
) -> None:
    outputs = [tmp_path / f"r.{suffix}" for suffix in ("json", "geojson", "gpkg", "csv", "png")]
    done = run(
        *("match", signed("one.tif"), signed("two.tif"), "-m", "sift", "-vv", "--format", "json"),
        *(item for path in outputs for item in ("-o", path)),
    )
    assert done.exit_code == 0, done.stderr
    assert all(path.exists() for path in outputs)
    assert web.url("one.tif") in (tmp_path / "r.json").read_text()
    assert any("SECRET" in path for path in web.asked())
    out = tmp_path / "registered.tif"
    registered = run(
        *("register", signed("one.tif"), signed("two.tif"), out, "-m", "sift"),
        *("--report", tmp_path / "report.html", "-s", "window=32"),
    )
    assert registered.exit_code == 0, registered.stderr
    with rasterio.open(out) as written:
        assert written.tags()["IMATCH_SOURCE"] == "two.tif"
    told_nowhere(tmp_path, done, registered)


def test_series_of_signed_urls_tell_no_secret(
    run: Run, web: Web, signed: Callable[[str], str], tmp_path: Path
) -> None:
    table = tmp_path.with_name(f"{tmp_path.name}-pairs.csv")
    rows = [f"{signed('one.tif')},{signed(name)}" for name in ("two.tif", "three.tif", "no.tif")]
    # Another URL, though only the query tells.
    rows.append(f"{signed('one.tif')},{signed('two.tif')}&again=1")
    table.write_text("\n".join(["reference,target", *rows]))
    arguments = ["batch", table, "-o", tmp_path / "batch", "-m", "sift", "--no-cache"]
    batch = run(*arguments, "--export", "csv")
    assert batch.exit_code == 1
    assert "3 of 4 registered" in batch.stdout
    names = [row.split(",")[0] for row in (tmp_path / "batch" / "results.csv").read_text().split()]
    assert [name.partition("-")[0] for name in names if name.startswith("one__two")] == [
        "one__two"
    ] * 2
    urls = [signed(name) for name in ("one.tif", "two.tif", "three.tif")]
    arguments = ["-o", tmp_path / "stack", "-m", "sift", "--no-cache", "--warp"]
    stack = run("stack", *urls, *arguments, "--format", "json")
    assert stack.exit_code == 0, stack.output
    assert len(list((tmp_path / "stack" / "registered").glob("*.tif"))) == 3
    told_nowhere(tmp_path, batch, stack)


def test_same_ground_of_signed_urls_tells_no_secret(
    run: Run, signed: Callable[[str], str], tmp_path: Path
) -> None:
    pair = signed("one.tif"), signed("two.tif")
    arguments = ["-m", "sift", "--no-embedder", "--format", "json"]
    same = run("same", *pair, *arguments)
    assert same.exit_code == 0, same.stderr
    table = tmp_path.with_name(f"{tmp_path.name}-pairs.csv")
    table.write_text(f"a,b\n{pair[0]},{pair[1]}\n{pair[0]},{signed('no.tif')}\n")
    alike = run("duplicates", table, "-o", tmp_path / "alike.csv")
    assert alike.exit_code == 0, alike.stderr
    assert "skipped" in alike.stderr
    told_nowhere(tmp_path, same, alike)


@pytest.mark.parametrize("options", [(), ("--debug",), ("-vvv",)])
def test_an_error_about_a_signed_url_tells_no_secret(
    run: Run, web: Web, signed: Callable[[str], str], tmp_path: Path, options: tuple[str, ...]
) -> None:
    document = tmp_path / "inner.vrt"
    document.write_text(
        '<VRTDataset rasterXSize="192" rasterYSize="192"><VRTRasterBand dataType="UInt16" band="1">'
        "<SimpleSource><SourceFilename>/vsicurl/"
        + signed("absent.tif").replace("&", "&amp;")
        + "</SourceFilename><SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    failed = run("match", signed("absent.tif"), signed("two.tif"), "-m", "sift", *options)
    assert failed.exit_code == 1
    assert failed.stderr.splitlines()[-1].startswith(f"imatch: error: {web.url('absent.tif')}: ")
    nested = run("match", document, document, "-m", "sift", *options)
    assert nested.exit_code == 1, nested.output
    document.unlink()
    told_nowhere(tmp_path, failed, nested)
