"""What is asked of other hosts: nothing offline, and what gives access is not passed on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from imatch.core.io.offline import is_offline, offline
from imatch.raster.remote import reach

Run = Callable[..., Any]
RANGES = Path(__file__).parents[1] / "support" / "range_server.py"


class Server:
    """Serves a folder on loopback, from a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(RANGES), str(folder)], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    @property
    def asked(self) -> list[str]:
        """All that was asked for since it was asked last."""
        with urlopen(f"{self.url}/-/requests") as answer:  # noqa: S310 - on loopback
            return list(json.loads(answer.read()))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def server(tmp_path: Path, pair: tuple[Path, Path]) -> Iterator[Server]:
    """Serves ``a.tif`` and ``b.tif``; what lies in ``here`` is this machine's."""
    (tmp_path / "there").mkdir()
    (tmp_path / "here").mkdir()
    for path, name in zip(pair, ("a.tif", "b.tif"), strict=True):
        shutil.copyfile(path, tmp_path / "there" / name)
        shutil.copyfile(path, tmp_path / "here" / name)
    reach._log_once.cache_clear()
    made = Server(tmp_path / "there")
    yield made
    made.close()


def vrt(source: str, relative: int = 0) -> str:
    return (
        '<VRTDataset rasterXSize="256" rasterYSize="256"><VRTRasterBand dataType="UInt16" band="1">'
        f'<SimpleSource><SourceFilename relativeToVRT="{relative}">{source}</SourceFilename>'
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand></VRTDataset>"
    )


def reaching(folder: Path, url: str) -> dict[str, Path]:
    """Local files that have GDAL ask another host."""
    host = url.removeprefix("http://")
    box = "<UpperLeftX>0</UpperLeftX><UpperLeftY>9</UpperLeftY><LowerRightX>9</LowerRightX>"
    texts = {
        "plain.vrt": vrt(f"/vsicurl/{url}/a.tif"),
        "streaming.vrt": vrt(f"/vsicurl_streaming/{url}/a.tif"),
        "options.vrt": vrt(f"/vsicurl?url=http%3A%2F%2F{host.replace(':', '%3A')}%2Fa.tif"),
        "url.vrt": vrt(f"{url}/a.tif"),
        "zip.vrt": vrt(f"/vsizip//vsicurl/{url}/a.zip/a.tif"),
        "nested.vrt": vrt("plain.vrt", 1),
        "deeper.vrt": vrt(str(folder / "nested.vrt")),
        "a.tif.vrt": '\ufeff  <?xml version="1.0"?>\n' + vrt(f"/vsicurl/{url}/a.tif"),
        "tiles.tif": f'<GDAL_WMS><Service name="TMS"><ServerUrl>{url}/${{z}}/${{x}}/${{y}}.png'
        f"</ServerUrl></Service><DataWindow>{box}<LowerRightY>0</LowerRightY><TileLevel>3"
        "</TileLevel></DataWindow><BandsCount>3</BandsCount></GDAL_WMS>",
        "wmts.xml": f"<GDAL_WMTS><GetCapabilitiesUrl>{url}/wmts</GetCapabilitiesUrl></GDAL_WMTS>",
        "wcs.xml": f"<WCS_GDAL><ServiceURL>{url}/wcs?</ServiceURL><Version>1.0.0</Version>"
        "<CoverageName>a</CoverageName></WCS_GDAL>",
        "index.xml": f"<GDALTileIndexDataset><IndexDataset>{url}/index.gpkg</IndexDataset>"
        "</GDALTileIndexDataset>",
        "stac.json": json.dumps(
            {
                "type": "Feature",
                "stac_version": "1.0.0",
                "id": "a",
                "geometry": {"type": "Point", "coordinates": [0, 0]},
                "properties": {"datetime": "2018-08-15T00:00:00Z"},
                "links": [],
                "assets": {"a": {"href": f"{url}/a.tif"}},
            }
        ),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    return {name: folder / name for name in texts}


def test_offline_no_request_is_made(run: Run, server: Server, tmp_path: Path) -> None:
    here = tmp_path / "here"
    for name, path in reaching(here, server.url).items():
        done = run("match", here / "b.tif", path, "-m", "phase", "--offline")
        assert done.exit_code == 1, name
        assert "no request is made offline" in done.stderr, name
        assert "127.0.0.1" in done.stderr, name
        assert len(done.stderr.splitlines()) == 1
    for name in (f"{server.url}/a.tif", f"/vsicurl/{server.url}/a.tif", f"WMS:{server.url}/a"):
        done = run("match", here / "b.tif", name, "-m", "phase", "--offline")
        assert done.exit_code == 1
        assert "lies on another host, and no request is made offline" in done.stderr
    assert server.asked == []
    assert not is_offline()
    # The same without it, so that this test can fail.
    run("match", here / "b.tif", here / "plain.vrt", "-m", "phase")
    assert server.asked


VERBS: dict[str, tuple[str, ...]] = {
    "match": ("{a}", "{far}", "-m", "phase"),
    "mask": ("match", "{a}", "{b}", "-m", "phase", "-s", "tgt_mask={mask}"),
    "register": ("{a}", "{far}", "{out}.tif", "-m", "phase"),
    "batch": ("{pairs}", "-o", "{out}", "-m", "phase", "--no-cache"),
    "duplicates": ("{pairs}",),
    "apply": ("{result}", "{far}", "{mask}", "-o", "{out}"),
    "data": ("prepare", "{far}", "-o", "{out}"),
    "fetch": (
        *("data", "fetch", "stac", "--url", "{url}", "--bbox", "0,0,1,1"),
        *("--dates", "2018", "-o", "{out}"),
    ),
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_that_reads_keeps_offline(
    run: Run, server: Server, tmp_path: Path, verb: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    far = reaching(here, server.url)["plain.vrt"]
    mask = here / "mask.gml"
    mask.write_text(
        f'<OGRVRTDataSource><OGRVRTLayer name="a"><SrcDataSource>/vsicurl/{server.url}/a.json'
        "</SrcDataSource></OGRVRTLayer></OGRVRTDataSource>"
    )
    (here / "pairs.csv").write_text("reference,target,a,b\na.tif,plain.vrt,a.tif,plain.vrt\n")
    if verb == "batch":
        (here / "pairs.csv").write_text("reference,target\na.tif,plain.vrt\n")
    if verb == "apply":
        run("match", here / "a.tif", here / "b.tif", "-m", "phase", "-o", here / "result.json")
    given = {
        "a": here / "a.tif", "b": here / "b.tif", "far": far, "mask": mask, "url": server.url,
        "pairs": here / "pairs.csv", "result": here / "result.json", "out": tmp_path / "out",
    }  # fmt: skip
    words = [word.format(**given) for word in VERBS[verb]]
    words = words if verb in ("mask", "fetch") else [verb, *words]
    # By the variable where there is no option of that name.
    option = () if verb == "fetch" else ("--offline",)
    if not option:
        monkeypatch.setenv("IMATCH_OFFLINE", "1")
    done = run(*words, *option)
    told = done.stderr + done.stdout
    assert "made offline" in told or verb in ("batch", "duplicates", "data"), told
    assert server.asked == []
    assert "Traceback" not in told


def test_a_file_that_reaches_out_is_named(run: Run, server: Server, tmp_path: Path) -> None:
    here = tmp_path / "here"
    files = reaching(here, server.url)
    done = run("match", here / "a.tif", files["deeper.vrt"], "-m", "phase")
    assert f"{files['plain.vrt']} reaches out to 127.0.0.1" in done.stderr
    assert done.stderr.count("reaches out") == 1
    # What was typed is asked for without a word, and local files name namespaces.
    (here / "local.vrt").write_text(
        vrt("b.tif", 1).replace(
            "<VRTR", "<Metadata><MDI key='a'>http://x.y</MDI></Metadata><VRTR", 1
        )
    )
    for name in (f"/vsicurl/{server.url}/b.tif", here / "local.vrt", here / "b.tif"):
        done = run("match", here / "a.tif", name, "-m", "phase")
        assert "reaches out" not in done.stderr


def test_what_gives_access_is_written_nowhere(run: Run, server: Server, tmp_path: Path) -> None:
    here, out = tmp_path / "here", tmp_path / "out"
    signed = f"/vsicurl/{server.url}/b.tif?X-Amz-Signature=SECRET"
    gone = signed.replace("b.tif", "gone.tif")
    targets = (signed, f"{signed}2", gone)
    rows = "".join(f"a.tif,{target}\n" for target in targets)
    (here / "pairs.csv").write_text(f"reference,target\n{rows}")
    run("match", here / "a.tif", signed, "-m", "phase", "-o", out.with_suffix(".json"), "-v")
    said = [
        run(*words)
        for words in (
            (
                "match",
                here / "a.tif",
                signed,
                "-m",
                "phase",
                "-o",
                tmp_path / "o.gpkg",
                "--overwrite",
            ),
            ("match", here / "a.tif", signed, "-m", "phase", "--format", "json"),
            ("match", here / "a.tif", gone, "-m", "phase", "--debug"),
            ("register", here / "a.tif", signed, tmp_path / "o.tif", "-m", "phase"),
            ("batch", here / "pairs.csv", "-m", "phase", "-o", out, "--no-cache"),
        )
    ]
    assert any("SECRET" in path for path in server.asked)
    results = (out / "results.csv").read_text()
    assert results.count(",ok,") == 2
    for done in said:
        assert "SECRET" not in done.stdout + done.stderr
    for path in tmp_path.rglob("*"):
        assert "SECRET" not in path.name
        if path.is_file() and path != here / "pairs.csv":
            assert b"SECRET" not in path.read_bytes(), path


def test_what_was_set_before_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "localhost")
    monkeypatch.delenv("GDAL_HTTP_PROXY", raising=False)
    before = dict(os.environ)
    with offline(False):
        assert dict(os.environ) == before
    with offline():
        assert is_offline()
        assert os.environ["no_proxy"] == ""
        assert "GDAL_HTTP_PROXY" in os.environ
    assert dict(os.environ) == before
