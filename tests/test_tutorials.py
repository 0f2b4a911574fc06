"""The notebooks of the documentation run in a real kernel, and say what they are kept with."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
LARGEST_BYTES = 300_000


def texts(notebook: nbformat.NotebookNode) -> list[str]:
    """What each of its cells prints, in however many pieces the kernel sent it."""
    return [
        "".join(
            output["text"]
            for output in cell.get("outputs", [])
            if output["output_type"] == "stream" and output["name"] == "stdout"
        )
        for cell in notebook.cells
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
# The kernel's own port and its event loop.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_notebook_runs(path: Path) -> None:
    kept = nbformat.read(path, as_version=4)
    made = nbformat.read(path, as_version=4)
    resources = {"metadata": {"path": str(path.parent)}}
    NotebookClient(made, timeout=300, kernel_name="python3", resources=resources).execute()
    assert path.stat().st_size < LARGEST_BYTES
    # Words are the same; figures may differ in their last place, hashes and folders altogether.
    for one, other in zip(texts(kept), texts(made), strict=True):
        assert re.findall(r"[A-Za-z]{3,}", one.split("sha256")[0]) == re.findall(
            r"[A-Za-z]{3,}", other.split("sha256")[0]
        )
    assert not any(
        output["output_type"] == "error"
        for cell in kept.cells
        for output in cell.get("outputs", [])
    )
