from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

import imatch
from imatch.benchmark.cases import Case, write_cases
from imatch.benchmark.runner import BenchPlan
from imatch.export import WriteLog, write_all


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
    """A progress callback that remembers the stages and how far each went."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, float | None]] = []
        self.done: list[float] = []

    def __call__(self, label: str, done: float, total: float | None) -> None:
        if not self.stages or self.stages[-1] != (label, total):
            self.stages.append((label, total))
            self.done.append(0)
        self.done[-1] = done

    @property
    def counted(self) -> list[tuple[str, float]]:
        """The stages that have a number of steps."""
        return [(label, total) for label, total in self.stages if total is not None]


def test_a_scene_is_registered_and_written(pair: tuple[Path, Path], tmp_path: Path) -> None:
    told, log = Told(), WriteLog()
    out, document = tmp_path / "out.tif", tmp_path / "result.json"
    found = imatch.register(
        *pair,
        out,
        outputs=[document],
        cog=True,
        log=log,
        progress=told,
        matcher="phase",
        local="none",
    )
    assert found.status == "ok"
    log.check()
    assert log.lines == [f"wrote {out} (256x256 pixels, cubic)", f"wrote {document}"]
    assert [label for label, _ in told.counted] == ["measuring tiles", "writing out.tif"]
    tiles, writing = told.counted
    assert told.done[told.stages.index(tiles)] == tiles[1]
    assert told.done[told.stages.index(writing)] == pytest.approx(100)
    assert [label for label, _ in told.stages][-1] == "writing result.json"
    with rasterio.open(out) as image:
        assert image.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    with pytest.raises(imatch.ImatchError, match="already exists"):
        imatch.register(*pair, out)


def test_a_scene_need_not_be_written(pair: tuple[Path, Path], tmp_path: Path) -> None:
    with rasterio.open(pair[0]) as image:
        pixels = image.read()
    found = imatch.register(pair[0], pixels, matcher="phase", use_geocoding=False)
    assert found.status == "ok"
    with pytest.raises(imatch.ImatchError, match="a target that is a file"):
        imatch.register(pair[0], pixels, tmp_path / "out.tif")
    with pytest.raises(imatch.ImatchError, match="also an input"):
        imatch.register(*pair, pair[1], overwrite=True)


def test_an_interrupted_scene_says_where_its_tiles_are(
    pair: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("imatch.pipeline.scene.register.fit_scene", interrupt)
    out = tmp_path / "out.tif"
    with pytest.raises(KeyboardInterrupt) as caught:
        imatch.register(*pair, out, matcher="phase", local="none")
    kept = tmp_path / ".out.tif.imatch"
    assert caught.value.__notes__ == [
        f"finished tiles are kept in {kept}; run again with --resume to use them"
    ]
    assert kept.is_dir()


def test_an_option_that_does_not_exist_is_answered_by_the_nearest(tmp_path: Path) -> None:
    image = np.zeros((64, 64))
    calls: tuple[tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any], str], ...] = (
        (imatch.match, (image, image), {"machter": "sift"}, "matcher"),
        (imatch.register, (image, image), {"overwite": True}, "overwrite"),
        (imatch.register, (image, image), {"spacin": 3}, "spacing"),
        (imatch.batch, ([], tmp_path), {"job": 2}, "jobs"),
        (imatch.stack, ([], tmp_path), {"jont": "affine"}, "joint"),
        (imatch.same_ground, (image, image), {"embeder": "edges"}, "embedder"),
        (imatch.search, (tmp_path, image), {"verfy": True}, "verify"),
        (imatch.bench, ("cases.csv", "sift", tmp_path), {"filter": ["a=b"]}, "filters"),
    )
    for function, arguments, options, meant in calls:
        with pytest.raises(imatch.ImatchError, match=f"did you mean '{meant}'"):
            function(*arguments, **options)
    with pytest.raises(imatch.ImatchError, match="options are progress, matcher"):
        imatch.match(image, image, zzz=1)  # type: ignore[call-arg]


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
    folder = tmp_path / "archive.index"
    grown = imatch.build_index(archive, folder, embedder="edges", min_valid=0.4, progress=told)
    assert (grown.to_dict()["added"], told.stages, told.done) == (3, [("embedding", 3)], [3])
    # What is not said is as the index has it, its embedder too.
    assert imatch.build_index(archive[0], folder).unchanged == 1
    with pytest.raises(imatch.ImatchError, match=r"^stride: input should be greater than 0$"):
        imatch.build_index(archive, folder, stride=-1)
    found = imatch.search(folder, archive[1], 2, verify=True, matcher="sift", progress=told)
    assert found.hits[0].image.path == str(archive[1])
    assert found.query == str(archive[1])
    assert (told.stages[-1], told.done[-1]) == (("verifying", 2), 2)
    found.save(tmp_path / "hits.csv")
    # Two chips were matched; both are of one image, of which the best is given.
    assert (tmp_path / "hits.csv").read_text().count("\n") == 2
    chips = imatch.search(folder, archive[1], 2, verify=True, chips=True, matcher="sift")
    assert [hit.image.path for hit in chips.hits] == [str(archive[1])] * 2
    assert found.registration is not None
    assert found.registration.status == "ok"
    index = imatch.open_index(folder)
    again = imatch.search(index, ground[60:260, :200], 1)
    assert again.hits[0].image.path == str(archive[1])
    with pytest.raises(imatch.ImatchError, match="is open already"):
        imatch.search(index, archive[1], embedder="edges")


@pytest.mark.usefixtures("empty_cache")
def test_files_are_compared(pair: tuple[Path, Path], tmp_path: Path) -> None:
    a, b = map(str, pair)
    answer = imatch.same_ground(a, b, match_only=True, matcher="sift")
    assert answer.same
    assert answer.notes == ()
    answer = imatch.same_ground(*pair, imatch.MatchConfig(matcher="sift"))
    assert (answer.same, answer.notes) == (True, ())
    assert answer.similarity is not None
    told = Told()
    copies = imatch.find_duplicates(tmp_path, progress=told)
    assert copies.groups == ((a, b),)
    assert [label for label, _ in told.stages] == ["reading", "comparing"]
    assert imatch.find_duplicates([a, b], threshold=1).to_dict()["threshold"] == 1
    copies.save(tmp_path / "copies.csv")
    assert (tmp_path / "copies.csv").read_text().startswith("a,b,duplicate,probability")


def test_a_registration_is_applied_to_files(pair: tuple[Path, Path], tmp_path: Path) -> None:
    found = imatch.match(*pair, matcher="sift")
    document = tmp_path / "result.json"
    found.save(document)
    told, seen = Told(), list[Path | None]()
    done = imatch.apply(
        document,
        pair,
        tmp_path / "out",
        on_file=lambda applied: seen.append(applied.out),
        progress=told,
    )
    assert [applied.out for applied in done] == seen
    assert seen == [tmp_path / "out" / path.name for path in pair]
    assert told.stages == [("2 files", 200)]
    assert told.done == pytest.approx([200])
    with pytest.raises(imatch.ImatchError, match="already exists"):
        imatch.apply(found, pair[0], tmp_path / "out")
    nowhere = [tmp_path / "a.tif", pair[0], tmp_path / "b.tif"]
    with pytest.raises(imatch.ImatchError, match="2 of 3 files could not be done") as caught:
        imatch.apply(found, nowhere, tmp_path / "out", overwrite=True)
    assert [note.partition(":")[0] for note in caught.value.__notes__] == [
        str(tmp_path / "a.tif"),
        str(tmp_path / "b.tif"),
    ]
    unsure = replace(found, status="uncertain", reason="too little")
    with pytest.raises(imatch.ImatchError, match="not to be applied, uncertain: too little"):
        imatch.apply(unsure, pair[0], tmp_path / "other")
    forced = imatch.apply(unsure, pair[0], tmp_path / "other", force=True)
    assert forced[0].out == tmp_path / "other" / pair[0].name


def test_many_pairs_are_run(pair: tuple[Path, Path], tmp_path: Path) -> None:
    told = Told()
    run = imatch.batch([pair], tmp_path / "out", exports=["csv"], progress=told, matcher="sift")
    assert [row.status for row in run.results] == ["ok"]
    assert run.summary["registered"] == 1
    assert (told.stages, told.done) == ([("registering", 1)], [1])
    assert (tmp_path / "out" / "report.html").exists()
    with pytest.raises(imatch.ImatchError, match="given already"):
        imatch.batch([pair], tmp_path / "more", all_pairs=True)


def test_matchers_are_measured(pair: tuple[Path, Path], tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    write_cases(table, [replace(case("a", "near"), ref=str(pair[0]), tgt=str(pair[1]))])
    told = Told()
    run = imatch.bench(table, "sift", tmp_path / "out", progress=told, use_geocoding=False)
    assert [row.status for row in run.results] == ["ok"]
    assert run.summary["schema"] == "imatch.bench/1"
    assert (told.stages, told.done) == ([("matching", 1)], [1])


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
