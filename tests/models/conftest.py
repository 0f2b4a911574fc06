from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from imatch.models import catalogue, fetch, store
from imatch.models.catalogue import Source, WeightSpec


@pytest.fixture
def empty_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without any weights; returns its cache folder."""
    monkeypatch.setattr(store, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setattr(fetch, "cache_dir", lambda: tmp_path / "cache")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.delenv("IMATCH_WEIGHTS", raising=False)
    return tmp_path / "cache"


Publish = Callable[..., WeightSpec]


@pytest.fixture
def publish(monkeypatch: pytest.MonkeyPatch) -> Publish:
    """Add weights to the catalogue, defined by their content."""

    def add(name: str, content: bytes, source: Source, *, default: bool = True) -> WeightSpec:
        spec = WeightSpec(
            name,
            f"{name}.pth",
            hashlib.sha256(content).hexdigest(),
            len(content),
            "CC0-1.0",
            source,
            "for tests",
            default=default,
        )
        table = {**catalogue.WEIGHTS, name: spec}
        monkeypatch.setattr(catalogue, "WEIGHTS", table)
        monkeypatch.setattr(fetch, "WEIGHTS", table)
        return spec

    return add
