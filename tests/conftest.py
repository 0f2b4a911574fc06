from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from numpy.typing import NDArray

from tests.support import warm_workers as warm
from tests.support.geotiffs import write_geotiff

#: It runs in the environment of AROSICS, which has other libraries.
collect_ignore = ["support/arosics/worker.py"]

_SERVER = Path(__file__).parent / "support" / "range_server.py"


@dataclass(frozen=True)
class Web:
    """A web server on this machine.

    Attributes:
        root: The folder that it serves.
        port: Where it listens.
    """

    root: Path
    port: int

    def url(self, name: str, *, user: str = "", query: str = "") -> str:
        """Of a file."""
        return f"http://{user}{'@' * bool(user)}127.0.0.1:{self.port}/{name}{query}"

    def asked(self) -> list[str]:
        """Methods and paths of all requests since the last call."""
        with urlopen(self.url("-/requests"), timeout=30) as answer:  # noqa: S310 - our own.
            found: list[str] = json.load(answer)
        return found


@pytest.fixture(scope="session")
def _web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    root = tmp_path_factory.mktemp("web")
    command = [sys.executable, str(_SERVER), str(root)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Web(root, int(process.stdout.readline()))
        process.kill()


@pytest.fixture
def web(_web: Web) -> Web:
    """A web server with an empty log."""
    _web.asked()
    return _web


@pytest.fixture
def write_image(tmp_path: Path) -> Callable[..., Path]:
    """Writes a GeoTIFF below the test's folder; see `write_geotiff`."""

    def write(name: str, pixels: NDArray[Any], **profile: Any) -> Path:
        return write_geotiff(tmp_path / name, pixels, **profile)

    return write


@pytest.fixture
def warm_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worker processes begin with imatch imported; see `tests.support.warm_workers`."""
    if warm.POSSIBLE:
        monkeypatch.setattr("imatch.core.pool.ProcessPoolExecutor", warm.executor)
