from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import imatch


def test_every_public_name_is_there() -> None:
    for name in imatch.__all__:
        assert getattr(imatch, name) is not None
    assert set(imatch.__all__) <= set(dir(imatch))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'mtach'"):
        imatch.mtach  # type: ignore[attr-defined]  # noqa: B018


def test_names_are_those_of_their_modules() -> None:
    from imatch.pipeline.pair.config import MatchConfig
    from imatch.pipeline.registration.result import Registration

    assert imatch.MatchConfig is MatchConfig
    assert imatch.Registration is Registration


def test_files_and_arrays_give_one_answer(
    pair: tuple[Path, Path], ground: NDArray[np.uint16]
) -> None:
    from_files = imatch.match(*pair, matcher="sift", use_geocoding=False)
    from_arrays = imatch.match(ground[:256, :256], ground[:256, :256], matcher="sift")
    assert from_files.status == from_arrays.status == "ok"
    assert from_files.matrix is not None
    assert from_arrays.matrix is not None
    np.testing.assert_allclose(from_files.matrix, from_arrays.matrix, atol=1e-6)


def test_a_user_s_mistake_is_one_kind_of_error(tmp_path: Path) -> None:
    with pytest.raises(imatch.ImatchError, match=r"nowhere\.tif"):
        imatch.match(tmp_path / "nowhere.tif", tmp_path / "nowhere.tif", matcher="sift")


def test_python_dash_m_is_the_same_program() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "imatch", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"imatch {imatch.__version__}\n"
