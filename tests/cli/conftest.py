from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner, Result
from numpy.typing import NDArray

from imatch.cli import cli
from tests.support.geotiffs import textured

WriteImage = Callable[..., Path]


@pytest.fixture
def run() -> Callable[..., Result]:
    """The real command line in this process; whatever escapes it fails the test."""

    def invoke(*arguments: object) -> Result:
        result = CliRunner().invoke(cli, [str(item) for item in arguments], prog_name="imatch")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture(scope="session")
def ground() -> NDArray[np.uint16]:
    """(320, 320) of texture with corners at every scale."""
    return textured(320)


@pytest.fixture
def pair(write_image: WriteImage, ground: NDArray[np.uint16]) -> tuple[Path, Path]:
    """Two views of one ground; the target's geocoding is 30 m (3 px) too far east."""
    ref = write_image("ref.tif", ground[:256, :256])
    tgt = write_image(
        "tgt.tif", ground[:256, :256], transform=Affine(10, 0, 356_030, 0, -10, 4_835_000)
    )
    return ref, tgt


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which no weights have ever been fetched; imatch's cache folder there."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("IMATCH_WEIGHTS", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path / "cache" / "imatch" / "weights"
