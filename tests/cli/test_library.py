from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

import imatch
from imatch.bench.cases import Case, write_cases
from imatch.bench.runner import BenchPlan
from imatch.export import write_all
from imatch.pipeline.apply.file import ApplyOptions
from imatch.retrieval.duplicates.find import duplicates_among
from imatch.retrieval.index.build import index_images
from imatch.retrieval.locate import locate_image
from imatch.retrieval.same import compare_images


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


class Told:
    """A progress display that remembers the bars and how far each went."""

    def __init__(self) -> None:
        self.bars: list[tuple[str, float | None]] = []
        self.done: list[float] = []

    @contextmanager
    def __call__(self, label: str, total: float | None) -> Iterator[Callable[[float], None]]:
        self.bars.append((label, total))
        self.done.append(0)

        def advance(steps: float) -> None:
            self.done[-1] += steps

        yield advance


def test_a_scene_is_registered_and_written(pair: tuple[Path, Path], tmp_path: Path) -> None:
    told, stages = Told(), list[str]()
    out, document = tmp_path / "out.tif", tmp_path / "result.json"
    done = imatch.register_files(
        *pair,
        out,
        outputs=[document],
        options=ApplyOptions(cog=True),
        jobs=1,
        on_stage=stages.append,
        progress=told,
        matcher="phase",
        local="none",
    )
    assert done.registration.status == "ok"
    done.log.check()
    assert done.log.lines == [f"wrote {out} (256x256 pixels, cubic)", f"wrote {document}"]
    assert [label for label, _ in told.bars][-1] == "writing out.tif"
    assert told.bars[0] == ("measuring tiles", told.done[0])
    assert told.done[-1] == pytest.approx(100)
    assert stages[-1] == "writing result.json"
    with rasterio.open(out) as image:
        assert image.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"


def test_an_interrupted_scene_says_where_its_tiles_are(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("imatch.pipeline.scene.register.fit_scene", interrupt)
    out = tmp_path / "out.tif"
    with pytest.raises(KeyboardInterrupt) as caught:
        imatch.register_files(*pair, out, jobs=1, matcher="phase", local="none")
    kept = tmp_path / ".out.tif.imatch"
    assert caught.value.__notes__ == [
        f"finished tiles are kept in {kept}; run again with --resume to use them"
    ]
    assert kept.is_dir()


def test_one_file_that_cannot_be_written_does_not_cost_the_others(
    pair: tuple[Path, Path], tmp_path: Path
) -> None:
    registration = imatch.match(*pair, matcher="sift")
    held = tmp_path / "held.json"
    held.write_text("precious")
    log = write_all(registration, [held, tmp_path / "points.csv"])
    assert log.lines == [f"wrote {tmp_path / 'points.csv'}"]
    with pytest.raises(imatch.ImatchError, match="already exists"):
        log.check()


def test_images_are_indexed_and_found(
    write_image: Callable[..., Path], ground: NDArray[np.uint16], tmp_path: Path
) -> None:
    told = Told()
    archive = [
        write_image(f"{i}.tif", ground[y : y + 200, :200]) for i, y in enumerate((0, 60, 120))
    ]
    index = tmp_path / "archive.index"
    grown = index_images(index, archive, embedder="edges", min_valid=0.4, progress=told)
    assert (grown.to_dict()["added"], told.bars, told.done) == (3, [("embedding", 3)], [3])
    # What is not said is as the index has it, its embedder too.
    assert index_images(index, archive[:1]).unchanged == 1
    hits, verified = tmp_path / "hits.csv", tmp_path / "best.json"
    answer, log = locate_image(
        index,
        str(archive[1]),
        2,
        verify=True,
        config=imatch.MatchConfig(matcher="sift"),
        outputs=[hits],
        registration=verified,
        progress=told,
    )
    log.check()
    assert answer.hits[0].image.path == str(archive[1])
    assert log.lines == [f"wrote {hits}", f"wrote {verified}"]
    assert (told.bars[-1], told.done[-1]) == (("verifying", 2), 2)
    with pytest.raises(imatch.ImatchError, match="verifying"):
        locate_image(index, str(archive[1]), registration=verified)


@pytest.mark.usefixtures("empty_cache")
def test_files_are_compared(pair: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = map(str, pair)
    config, found = imatch.MatchConfig(matcher="sift"), tmp_path / "found.json"
    answer = compare_images(a, b, config, match_only=True, registration=found)
    assert answer.same
    assert found.exists()
    notes: list[str] = []
    compare_images(a, b, config, on_note=notes.append)
    assert [note.partition(": weights")[0] for note in notes] == [
        "deciding by the match alone: efficientnet-lite0"
    ]
    told = Told()
    copies = duplicates_among(tmp_path, progress=told)
    assert copies.groups == ((a, b),)
    assert [label for label, _ in told.bars] == ["reading", "comparing"]
    assert duplicates_among(tmp_path, threshold=1).to_dict()["threshold"] == 1


def test_a_benchmark_is_planned_from_its_table(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    write_cases(table, [case("a", "near"), case("b", "near"), case("c", "free")])
    plan = BenchPlan.of_table(
        table,
        ["sift", "phase", "sift"],
        filters=["variant=near"],
        limit=1,
        config=imatch.MatchConfig(seed=3, size=512),
    )
    assert [config.matcher for config in plan.configs] == ["sift", "phase"]
    assert {config.seed for config in plan.configs} == {3}
    assert (len(plan.cases), plan.root, plan.fit_size) == (1, tmp_path, False)
    assert dict(plan.origin)["filters"] == {"variant": ["near"]}
    assert BenchPlan.of_table(table, ["sift"], root=Path("images")).root == Path("images")


def case(name: str, variant: str) -> Case:
    return Case(name, "made", variant, "", "ref.tif", "tgt.tif", np.eye(3), np.eye(3))
