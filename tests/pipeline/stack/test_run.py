"""Images in, all of them tied: on ground that is known exactly, and with pairs made up to order."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray

from imatch.core.errors import ConfigError, InputError
from imatch.datasets.synthetic.landscape import Landscape, landscape
from imatch.datasets.synthetic.landscape_view import Season, render_landscape
from imatch.geometry.transform import Transform, apply_matrix
from imatch.pipeline.apply.raster import apply_raster
from imatch.pipeline.batch.executor import BatchExecutor
from imatch.pipeline.batch.pairs import BatchPair
from imatch.pipeline.batch.result import BatchResult
from imatch.pipeline.batch.worker import BatchTask, result_path, run_pair
from imatch.pipeline.registration.geo_correction import GeoCorrection
from imatch.pipeline.registration.io import read_registration, write_json
from imatch.pipeline.registration.result import Registration
from imatch.pipeline.stack.pairing import PairChoice
from imatch.pipeline.stack.result import Stack, StackImage
from imatch.pipeline.stack.run import solve_stack

MakeScene = Callable[..., Any]
Spoil = Callable[[Registration, str], Registration | str]
SIDE = 240
CORNERS = np.array([[0, 0], [SIDE - 1, 0], [SIDE - 1, SIDE - 1], [0, SIDE - 1]], dtype=np.float64)
# A year and the next January: the crops of some fields have changed.
DATES: dict[str, tuple[Season, int]] = {
    "a_20180115": ("winter", 0),
    "a_20180420": ("spring", 0),
    "a_20180715": ("summer", 0),
    "a_20181010": ("autumn", 0),
    "a_20190120": ("winter", 1),
}


class Here(BatchExecutor):
    """Pairs run in this process, one after another; `spoil` may change what came of them.

    A pair that was matched in one test is not matched again in the next.
    """

    matched: ClassVar[dict[str, tuple[BatchResult, bytes]]] = {}

    def __init__(self, spoil: Spoil | None = None) -> None:
        self.spoil, self.ran = spoil, list[str]()

    def run(
        self, task: BatchTask, pairs: Sequence[BatchPair], *, retries: int, timeout: float | None
    ) -> Generator[BatchResult, None, None]:
        assert retries >= 0
        assert timeout is None
        for pair in pairs:
            self.ran.append(pair.name)
            path = result_path(task.out, pair.name)
            key = f"{pair.key} {task.config.model_dump_json(exclude={'tolerance'})}"
            if key not in self.matched:
                self.matched[key] = run_pair(task, pair), path.read_bytes()
            row, document = self.matched[key]
            path.write_bytes(document)
            if self.spoil is not None:
                made = self.spoil(read_registration(path), pair.name)
                if isinstance(made, str):
                    row = BatchResult.failed(pair, made)
                else:
                    write_json(made, path)
                    row = BatchResult.of(pair, made)
            yield row

    def facts(self) -> dict[str, Any]:
        return {"engine": "here"}


@pytest.fixture(scope="module")
def ground() -> Landscape:
    return landscape((320, 320), 5)


@pytest.fixture(scope="module")
def series(
    ground: Landscape, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[Path], dict[str, NDArray[np.float64]]]:
    """Five dates of one ground, each moved by itself, at 10 m; and ground pixel to image pixel."""
    folder = tmp_path_factory.mktemp("series")
    rng = np.random.default_rng(3)
    paths: list[Path] = []
    truth: dict[str, NDArray[np.float64]] = {}
    for name, (season, year) in DATES.items():
        angle, scale = np.radians(rng.uniform(-2, 2)), np.exp(rng.uniform(-0.02, 0.02))
        a, b = scale * np.cos(angle), scale * np.sin(angle)
        middle, shift = np.full(2, 160.0), np.full(2, SIDE / 2) + rng.uniform(-9, 9, 2)
        linear = np.array([[a, -b], [b, a]])
        matrix = np.eye(3)
        matrix[:2, :2], matrix[:2, 2] = linear, shift - linear @ middle
        pixels, _ = render_landscape(
            ground, season, matrix=matrix, size=(SIDE, SIDE), year=year, seed=len(paths)
        )
        path = folder / f"{name}.tif"
        profile: dict[str, Any] = {
            "driver": "GTiff",
            "width": SIDE,
            "height": SIDE,
            "crs": "EPSG:32631",
            "transform": rasterio.Affine(10, 0, 500_000, 0, -10, 4_800_000),
        }
        with rasterio.open(path, "w", count=3, dtype="uint16", **profile) as out:
            out.write((10_000 * pixels).astype(np.uint16))
        paths.append(path)
        truth[name] = matrix
    return paths, truth


def by_name(solved: Stack) -> dict[str, StackImage]:
    return {image.name: image for image in solved.images}


def worst_error(solved: Stack, truth: dict[str, NDArray[np.float64]]) -> dict[str, float]:
    """Largest corner error of each image that has a transform, pixels."""
    found = {}
    for name, image in by_name(solved).items():
        matrix = image.registration.matrix
        if matrix is not None:
            right = truth[name] @ np.linalg.inv(truth[solved.reference])
            gap = apply_matrix(matrix, CORNERS) - apply_matrix(right, CORNERS)
            found[name] = float(np.hypot(*gap.T).max())
    return found


@pytest.mark.parametrize("geocoded", [True, False])
def test_five_seasons_are_tied_to_hundredths_of_a_pixel(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path, geocoded: bool
) -> None:
    paths, truth = series
    solved = solve_stack(
        paths, tmp_path / "out", matcher="sift", use_geocoding=geocoded, executor=Here()
    )
    assert solved.on_map is geocoded
    assert solved.sure
    assert solved.model == "similarity"
    assert [image.name for image in solved.images] == list(DATES)
    assert len(solved.pairs) == 10
    assert len(solved.loops) == 10 - 4
    error = worst_error(solved, truth)
    assert max(error.values()) < 0.25
    for name, image in by_name(solved).items():
        bound = image.registration.certificate.corner_ci95_px
        assert bound is not None
        assert error[name] <= bound or name == solved.reference
        assert image.pairs == 4
    # Ten metres a pixel, in every figure that has both.
    for pair in solved.pairs:
        assert pair.residual_m == pytest.approx(10 * pair.residual_px)
        assert pair.verdict == "counts"
    for loop in solved.loops:
        assert loop.closure_m == pytest.approx(10 * loop.closure_px)
        assert loop.closure_px < 1


def test_an_image_is_an_ordinary_registration_that_apply_takes(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path
) -> None:
    paths, truth = series
    solved = solve_stack(
        paths[:3], tmp_path / "out", reference="a_20180420", matcher="sift", executor=Here()
    )
    assert solved.reference == "a_20180420"
    image = by_name(solved)["a_20180715"]
    write_json(image.registration, tmp_path / "a.json")
    registration = read_registration(tmp_path / "a.json")
    assert registration.status == "ok"
    assert registration.provenance["found_by"] == "stack"
    # Map and pixels say the same: north is up, ten metres a pixel.
    assert registration.map_matrix is not None
    centre = np.array([[120.0, 120.0]])
    place = [[500_000 + 1205, 4_800_000 - 1205]]
    moved = apply_matrix(registration.map_matrix, place) - place
    right = apply_matrix(truth["a_20180715"] @ np.linalg.inv(truth["a_20180420"]), centre) - centre
    np.testing.assert_allclose(moved[0] / [10, -10], right[0], atol=0.2)
    assert registration.shift_m is not None
    assert registration.shift_px is not None
    np.testing.assert_allclose(
        registration.shift_m, np.array(registration.shift_px) * [10, -10], atol=1e-6
    )
    # The warped image shows what the reference would have shown on that date.
    out = tmp_path / "a.tif"
    mapping = GeoCorrection.of(registration)
    apply_raster(mapping, paths[2], out, lattice=mapping.reference_lattice)
    with rasterio.open(out) as warped, rasterio.open(paths[1]) as reference:
        assert warped.transform == reference.transform
        assert warped.shape == reference.shape
    own = by_name(solved)["a_20180420"].registration
    assert own.matrix is not None
    np.testing.assert_allclose(own.matrix, np.eye(3), atol=1e-9)


def test_where_two_dates_do_not_match_a_third_leads_from_one_to_the_other(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path
) -> None:
    paths, truth = series

    def no_winter_with_summer(found: Registration, name: str) -> Registration:
        if "20180115" in name and "20180715" in name:
            return replace(found, status="failed", reason="snow", transform=None, map_matrix=None)
        return found

    solved = solve_stack(
        [paths[0], paths[1], paths[2]],
        tmp_path / "out",
        reference="a_20180115",
        matcher="sift",
        executor=Here(no_winter_with_summer),
    )
    image = by_name(solved)["a_20180715"]
    assert image.status == "ok"
    assert image.reason == "1 pair ties it, which nothing else checks"
    assert (image.pairs, image.counting, image.ways) == (2, 1, 1)
    assert worst_error(solved, truth)["a_20180715"] < 0.3
    assert solved.freedom == 0
    assert solved.loops == ()
    unused = next(pair for pair in solved.pairs if pair.verdict == "unused")
    assert (unused.status, unused.reason) == ("failed", "snow")


def test_a_wrong_pair_is_outvoted_and_named(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path
) -> None:
    paths, truth = series

    def moved(found: Registration, name: str) -> Registration:
        return shifted(found, 12.0) if name == "a_20180420__a_20181010" else found

    solved = solve_stack(paths, tmp_path / "out", matcher="sift", executor=Here(moved))
    aside = [pair for pair in solved.pairs if pair.verdict == "aside"]
    assert [(pair.reference, pair.target) for pair in aside] == [("a_20180420", "a_20181010")]
    assert aside[0].residual_px == pytest.approx(12, abs=0.5)
    assert aside[0].residual_m == pytest.approx(120, abs=5)
    assert solved.sure
    assert max(worst_error(solved, truth).values()) < 0.25
    # The loops tell before the adjustment, the worst first.
    assert not solved.loops[0].counts
    assert solved.loops[0].closure_px == pytest.approx(12, abs=1)
    assert by_name(solved)["a_20181010"].aside == 1


def test_one_word_against_another_makes_uncertain(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path
) -> None:
    """Of three pairs round a triangle one is wrong, and nothing says which."""
    paths, _ = series

    def moved(found: Registration, name: str) -> Registration:
        return shifted(found, 12.0) if name == "a_20180420__a_20180715" else found

    solved = solve_stack(
        paths[:3], tmp_path / "out", reference="a_20180115", matcher="sift", executor=Here(moved)
    )
    assert sum(pair.verdict == "aside" for pair in solved.pairs) == 1
    found = by_name(solved)
    doubtful = [image for image in found.values() if image.status == "uncertain"]
    assert doubtful
    assert all("1 sure pair contradicts it as firmly" in image.reason for image in doubtful)


def test_what_nothing_ties_is_named_with_the_best_attempts(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path
) -> None:
    paths, _ = series

    def spoil(found: Registration, name: str) -> Registration | str:
        if "20190120" not in name:
            return found
        if "20180115" in name:
            # Right, but not sure of itself, and alone.
            return replace(found, status="uncertain", reason="few agree")
        if "20180420" in name:
            return "its disk was pulled"
        return replace(found, status="failed", reason="clouds", transform=None, map_matrix=None)

    solved = solve_stack(paths, tmp_path / "out", matcher="sift", executor=Here(spoil))
    failed = by_name(solved)["a_20190120"]
    assert failed.status == "failed"
    assert failed.registration.matrix is None
    assert solved.untied == [failed]
    assert failed.reason.startswith("no pair ties it; the best: a_20180115 (uncertain, and nothing")
    assert "few agree" in failed.reason
    assert "and 1 more" in failed.reason
    verdicts = {p.reference: p.verdict for p in solved.pairs if p.target == "a_20190120"}
    assert verdicts["a_20180115"] == "unconfirmed"
    assert verdicts["a_20180420"] == "unused"
    assert all(image.status == "ok" for image in solved.images if image is not failed)


def test_two_uncertain_pairs_that_agree_tie_an_image_but_not_firmly(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path
) -> None:
    paths, truth = series

    def unsure(found: Registration, name: str) -> Registration:
        if "20181010" in name:
            return replace(found, status="uncertain", reason="chance could explain it")
        return found

    solved = solve_stack(paths[:4], tmp_path / "out", matcher="sift", executor=Here(unsure))
    image = by_name(solved)["a_20181010"]
    assert image.status == "uncertain"
    assert image.counting == 3
    assert "no way to the reference is one of sure pairs" in image.reason
    assert worst_error(solved, truth)["a_20181010"] < 0.3
    assert not solved.sure
    assert solved.untied == []


def test_images_tied_among_themselves_only_say_so(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path
) -> None:
    paths, _ = series

    def two_islands(found: Registration, name: str) -> Registration:
        winter = [year in name for year in ("20180115", "20190120")]
        if any(winter) and not all(winter):
            return replace(found, status="failed", reason="snow", transform=None, map_matrix=None)
        return found

    solved = solve_stack(
        paths, tmp_path / "out", reference="a_20180715", matcher="sift", executor=Here(two_islands)
    )
    failed = {image.name for image in solved.untied}
    assert failed == {"a_20180115", "a_20190120"}
    for image in solved.untied:
        assert image.reason.startswith("tied to images that nothing ties to the reference")


def test_the_order_in_which_images_are_named_changes_nothing(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path
) -> None:
    paths, _ = series
    one = solve_stack(paths[:4], tmp_path / "one", matcher="sift", executor=Here())
    other = solve_stack(paths[3::-1], tmp_path / "other", matcher="sift", executor=Here())
    documents = [solved.to_dict() for solved in (one, other)]
    for document in documents:
        del document["seconds"], document["provenance"]
        for pair in document["pairs"]:
            del pair["seconds"]
    assert documents[0] == documents[1]


def test_a_stack_is_gone_on_with_where_it_was_left(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path
) -> None:
    paths, _ = series
    first, second = Here(), Here()
    solve_stack(paths[:3], tmp_path / "out", matcher="sift", executor=first)
    solved = solve_stack(paths[:4], tmp_path / "out", matcher="sift", executor=second, resume=True)
    assert len(first.ran) == 3
    assert len(second.ran) == 3
    assert all("20181010" in name for name in second.ran)
    assert len(solved.pairs) == 6
    assert solved.sure


def test_more_pairs_are_tried_only_for_what_is_not_tied(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("imatch.pipeline.stack.pairing.ALL_UP_TO", 3)
    paths, truth = series

    def hard(found: Registration, name: str) -> Registration:
        # Spring matches autumn only.
        if "20180420" in name and "20181010" not in name:
            return replace(found, status="failed", reason="snow", transform=None, map_matrix=None)
        return found

    rounds: list[int] = []
    told: list[str] = []
    engine = Here(hard)
    solved = solve_stack(
        paths,
        tmp_path / "out",
        pairs=PairChoice("auto", 1),
        reference="a_20180715",
        matcher="sift",
        executor=engine,
        on_round=rounds.append,
        on_result=lambda row: told.append(row.name),
    )
    assert len(rounds) > 1
    assert sum(rounds) == len(engine.ran) == len(told) == len(set(told)) == len(solved.pairs)
    assert engine.ran[rounds[0] :] == ["a_20180420__a_20181010"]
    assert solved.sure
    assert worst_error(solved, truth)["a_20180420"] < 0.3


def test_pairs_with_the_reference_alone_are_as_many_as_the_others(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path
) -> None:
    paths, _ = series
    engine = Here()
    solved = solve_stack(
        paths,
        tmp_path / "out",
        pairs="reference",
        reference=paths[2],
        matcher="sift",
        executor=engine,
    )
    assert len(engine.ran) == 4
    assert solved.freedom == 0
    assert solved.sure


def test_an_image_that_cannot_be_read_does_not_cost_the_others(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path
) -> None:
    paths, _ = series
    broken = tmp_path / "b_20180601.tif"
    broken.write_bytes(b"nothing of the kind")
    solved = solve_stack([*paths[:2], broken], tmp_path / "out", matcher="sift", executor=Here())
    image = by_name(solved)["b_20180601"]
    assert image.status == "failed"
    assert "cannot be read" in image.reason
    assert [i.status for i in solved.images if i is not image] == ["ok", "ok"]
    assert json.dumps(solved.to_dict(), allow_nan=False)


def test_different_sizes_of_pixels_and_systems_meet_on_the_map(
    scene: MakeScene, tmp_path: Path
) -> None:
    """Three dates of 10 and 20 m in two UTM zones, each misplaced by its own metres."""
    scenes = [
        scene("a_20180101.tif", misplaced=(0.0, 0.0), noise=1),
        scene("b_20180401.tif", misplaced=(31.0, -12.0), gsd=20.0, noise=2),
        scene("c_20180701.tif", misplaced=(-14.0, 22.0), crs="EPSG:32632", noise=3),
    ]
    solved = solve_stack(
        [one.path for one in scenes],
        tmp_path / "out",
        reference="a_20180101",
        matcher="sift",
        executor=Here(),
    )
    assert solved.on_map
    assert solved.sure, [image.reason for image in solved.images]
    for one, image in zip(scenes[1:], solved.images[1:], strict=True):
        assert scenes[0].error_px(one, image.registration) < 0.15
    assert solved.images[1].registration.shift_m == pytest.approx((31, -12), abs=1.0)
    loop = solved.loops[0]
    # In pixels of its first image, and in metres of the ground.
    gsd = 20.0 if loop.images[0].startswith("b") else 10.0
    assert loop.closure_m == pytest.approx(gsd * loop.closure_px, rel=0.01)


def test_a_tolerance_is_held_against_every_bound(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path
) -> None:
    paths, _ = series
    solved = solve_stack(
        paths[:3],
        tmp_path / "out",
        reference="a_20180115",
        matcher="sift",
        tolerance="0.001px",
        executor=Here(),
    )
    passes = [image.registration.certificate.passes for image in solved.images]
    assert passes == [True, False, False]


def test_what_differs_for_reference_and_target_makes_no_sense(
    series: tuple[list[Path], dict[str, NDArray[np.float64]]], tmp_path: Path
) -> None:
    paths, _ = series
    with pytest.raises(ConfigError, match="bands: differs for reference and target"):
        solve_stack(paths, tmp_path / "out", ref_bands=(1,))
    with pytest.raises(ConfigError, match="name it with --reference"):
        solve_stack(paths, tmp_path / "out", pairs="reference")
    with pytest.raises(InputError, match="not among the images"):
        solve_stack(paths, tmp_path / "out", reference="july")
    assert not (tmp_path / "out").exists()


def shifted(found: Registration, dx: float) -> Registration:
    """The same answer, `dx` target pixels of 10 m further right."""
    assert found.transform is not None
    move, on_map = np.eye(3), np.eye(3)
    move[0, 2], on_map[0, 2] = dx, 10 * dx
    return replace(
        found,
        transform=Transform(found.transform.kind, move @ found.transform.matrix),
        map_matrix=None if found.map_matrix is None else on_map @ found.map_matrix,
    )
