"""Files on other hosts: only what is needed travels, and what goes wrong is one line."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

import imatch
from imatch.core.errors import InputError, OutputError
from imatch.core.io.fingerprint import Fingerprint, check_unchanged
from imatch.core.io.offline import offline
from imatch.pipeline.pair.identity import contents
from imatch.raster import open_source
from imatch.raster.remote.versions import fingerprints_of, remote_fingerprint
from tests.support.service import Service

SIDE = 2560
#: Working pixels that are to such an image what 1024 are to a whole Sentinel-2 tile.
SIZE = round(1024 * SIDE / 10980)
SHIFT = 7


@cache
def ground(side: int) -> NDArray[np.uint16]:
    """(side, side) of detail at every scale."""
    rng = np.random.default_rng(0)
    pixels = np.zeros((side, side), np.float32)
    for step in (1, 4, 16, 64):
        noise = rng.normal(size=(side // step, side // step)).astype(np.float32)
        pixels += cv2.resize(noise, (side, side), interpolation=cv2.INTER_CUBIC) * np.sqrt(step)
    low, high = float(pixels.min()), float(pixels.max())
    return np.asarray(1 + 9000 * (pixels - low) / (high - low), dtype=np.uint16)


def write_cog(path: Path, pixels: NDArray[Any]) -> None:
    profile = {
        "driver": "COG",
        "dtype": pixels.dtype,
        "count": 1,
        "height": pixels.shape[0],
        "width": pixels.shape[1],
        "crs": "EPSG:32631",
        "transform": Affine(10, 0, 300_000, 0, -10, 5_000_000),
        "nodata": 0,
        "compress": "deflate",
        "overview_resampling": "average",
    }
    with rasterio.open(path, "w", **profile) as out:
        out.write(pixels, 1)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """COGs of the same ground, moved, below ``/bucket/``."""
    root = tmp_path_factory.mktemp("host")
    (root / "bucket").mkdir()
    whole = ground(SIDE)
    write_cog(root / "bucket" / "a.tif", whole)
    write_cog(root / "bucket" / "b.tif", np.roll(whole, SHIFT, axis=1))
    write_cog(root / "bucket" / "small.tif", whole[:300, :300])
    write_cog(root / "bucket" / "moved.tif", whole[:300, SHIFT : 300 + SHIFT])
    service = Service(root)
    yield service
    service.close()


def test_matching_reads_three_percent_of_two_files(server: Service) -> None:
    server.sent()
    ref, tgt = (f"{server.url}/bucket/{name}.tif?sig=secret" for name in "ab")
    found = imatch.match(ref, tgt, matcher="sift", size=SIZE)
    sent = server.sent()
    assert found.status == "ok"
    assert found.shift_px == pytest.approx((SHIFT, 0), abs=0.7)
    local = imatch.match(
        server.root / "bucket" / "a.tif",
        server.root / "bucket" / "b.tif",
        matcher="sift",
        size=SIZE,
    )
    assert found.shift_px == pytest.approx(local.shift_px, abs=0.3)
    for name in ("a.tif", "b.tif"):
        assert 0 < sent[name] <= 0.03 * (server.root / "bucket" / name).stat().st_size
    document = json.dumps(found.to_dict())
    assert "secret" not in document
    assert found.provenance["files"][0]["files"][0]["version"].startswith('"')


def test_a_window_costs_its_tiles(server: Service) -> None:
    source = open_source(f"{server.url}/bucket/a.tif")
    server.sent()
    part = source.read(Window(1100, 1100, 100, 100))
    assert server.sent().get("a.tif", 0) < 0.06 * (server.root / "bucket" / "a.tif").stat().st_size
    np.testing.assert_array_equal(part.pixels[0], ground(SIDE)[1100:1200, 1100:1200])


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("no-ranges/bucket/a.tif", "serves no ranges of bytes; download it first"),
        ("403/a.tif", r"it refuses access \(HTTP 403\); sign the URL anew"),
        ("401/a.tif", r"it wants credentials \(HTTP 401\)"),
        ("404/a.tif", r"there is no such file \(HTTP 404\); check the address"),
        ("bucket/gone.tif", r"there is no such file \(HTTP 404\)"),
        ("410/a.tif", r"it is gone \(HTTP 410\)"),
    ],
)
def test_what_a_server_refuses_is_one_line(
    server: Service, place: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    address = server.url.replace("://", "://user:password@")
    with caplog.at_level(logging.DEBUG), pytest.raises(InputError, match=message) as caught:
        open_source(f"{address}/{place}?sig=secret&X-Amz-Signature=secret")
    said = f"{caught.value} {caplog.text}"
    assert "\n" not in str(caught.value)
    assert not any(word in said for word in ("secret", "password"))


def test_a_server_that_does_not_answer(server: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GDAL_HTTP_TIMEOUT", "1")
    monkeypatch.setenv("GDAL_HTTP_MAX_RETRY", "0")
    with pytest.raises(InputError, match=r"did not answer in time; try again later"):
        open_source(f"{server.url}/slow/a.tif")
    with pytest.raises(InputError, match="its host cannot be reached; check the address"):
        open_source("http://127.0.0.1:9/a.tif")


def test_a_signature_that_is_good_for_reading_alone(server: Service) -> None:
    for query in ("X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Signature=s", "X-Goog-Signature=s"):
        source = open_source(f"{server.url}/get-only/bucket/small.tif?{query}")
        assert source.info.size == (300, 300)
        assert fingerprints_of(source)[0].version


@pytest.mark.parametrize(
    ("url", "settings"),
    [
        (
            "s3://bucket/small.tif",
            {
                "AWS_S3_ENDPOINT": "{host}",
                "AWS_HTTPS": "NO",
                "AWS_VIRTUAL_HOSTING": "FALSE",
                "AWS_ACCESS_KEY_ID": "me",
                "AWS_SECRET_ACCESS_KEY": "secret",
            },
        ),
        (
            "gs://bucket/small.tif",
            {"CPL_GS_ENDPOINT": "http://{host}/", "GS_NO_SIGN_REQUEST": "YES"},
        ),
        (
            "az://bucket/small.tif",
            {
                "AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=http;AccountName=me;"
                "AccountKey=c2VjcmV0;BlobEndpoint=http://{host}"
            },
        ),
    ],
)
def test_object_stores(
    server: Service, monkeypatch: pytest.MonkeyPatch, url: str, settings: dict[str, str]
) -> None:
    """The server stands for the store: it takes the requests and checks no signature."""
    host = server.url.removeprefix("http://")
    for name, value in settings.items():
        monkeypatch.setenv(name, value.format(host=host))
    source = open_source(url)
    assert source.info.size == (300, 300)
    np.testing.assert_array_equal(source.read().pixels[0], ground(SIDE)[:300, :300])
    (taken,) = fingerprints_of(source)
    assert taken.version.startswith("overview ")
    assert taken == fingerprints_of(open_source(url))[0]
    with pytest.raises(InputError, match="there is no such file"):
        open_source(url.replace("small", "gone"))


def test_a_store_without_credentials(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("CPL_AWS_AUTODETECT_EC2", "NO")
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(InputError, match="the store refuses access; set its credentials"):
        open_source("s3://another-bucket/a.tif")


def test_a_new_version_is_another_file(server: Service) -> None:
    path, url = server.root / "bucket" / "v.tif", f"{server.url}/bucket/v.tif?sig=secret"
    write_cog(path, ground(256))
    before, key = remote_fingerprint(url), contents(url)
    assert before.size == path.stat().st_size
    assert before == remote_fingerprint(url)
    # Signed anew it is the same.
    assert contents(url.replace("secret", "other")) == key
    assert "secret" not in f"{before} {before.to_dict()} {key}"
    check_unchanged([before])
    kept = Fingerprint.from_dict(json.loads(json.dumps(before.to_dict())))
    assert kept.is_of(before)
    check_unchanged([kept])  # It cannot be asked for without its credentials.
    write_cog(path, ground(256)[::-1])
    os.utime(path, (1, 1))
    assert not remote_fingerprint(url).is_of(before)
    assert contents(url) != key
    with pytest.raises(InputError, match="has changed while it was read"):
        check_unchanged([before])
    path.unlink()
    check_unchanged([before])
    assert contents(url) == [f"{server.url}/bucket/v.tif"]


def test_tiles_of_a_remote_scene_are_kept_and_gone_on_with(
    server: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imatch.workflows import register as verb

    names = ("small", "moved")
    ref, tgt = (f"{server.url}/bucket/{name}.tif?sig=secret" for name in names)
    out, sift = tmp_path / "out.tif", imatch.SceneConfig(matcher="sift", window=32)

    def fail(*_: Any) -> str:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(verb, "_write_target", fail)
        with pytest.raises(KeyboardInterrupt) as caught:
            imatch.register(ref, tgt, out, config=sift)
    assert "run again with --resume" in caught.value.__notes__[0]
    assert "secret" not in "".join(
        file.read_text() for file in (tmp_path / ".out.tif.imatch").glob("*.json*")
    )
    server.sent()
    again = imatch.register(ref.replace("secret", "new"), tgt, out, config=sift, resume=True)
    assert again.accepted
    assert out.exists()
    assert not (tmp_path / ".out.tif.imatch").exists()


def test_an_index_knows_versions(server: Service, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    path, url = server.root / "bucket" / "i.tif", f"{server.url}/bucket/i.tif"
    write_cog(path, ground(512))
    index = tmp_path / "index"
    assert imatch.build_index([url], index, embedder="edges").added == 1
    assert imatch.build_index([url], index).unchanged == 1
    write_cog(path, ground(512)[::-1])
    os.utime(path, (1, 1))
    assert imatch.build_index([url], index).replaced == 1


@pytest.mark.parametrize("out", ["s3://bucket/out.tif", "/vsis3/bucket/out.tif"])
def test_nothing_is_written_to_other_hosts(out: str, server: Service) -> None:
    small, moved = (server.root / "bucket" / f"{name}.tif" for name in ("small", "moved"))
    with pytest.raises(OutputError, match=r"nothing is written.*to this machine and upload it"):
        imatch.register(small, moved, out)
    with pytest.raises(OutputError, match=r"nothing is written.*to this machine and upload it"):
        imatch.batch([(small, moved)], out.removesuffix(".tif"))


def test_offline_nothing_is_asked(server: Service) -> None:
    for url in (f"{server.url}/bucket/a.tif", "s3://bucket/a.tif", f"{server.url}/item.json"):
        with offline(), pytest.raises(InputError, match="no request is made offline"):
            open_source(url)
