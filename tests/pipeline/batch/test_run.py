from __future__ import annotations

import json
import os
import time
import zipfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from filelock import FileLock

from imatch.core.errors import ConfigError, ImatchError, InputError, OutputError, WeightsError
from imatch.core.io.tables import read_rows
from imatch.matchers.feature_cache import FeatureCache
from imatch.pipeline.batch import local as batch_local
from imatch.pipeline.batch.executor import BatchExecutor
from imatch.pipeline.batch.run import BatchPair, BatchResult, BatchRun, run_batch
from imatch.pipeline.batch.worker import BatchTask, run_pair
from imatch.pipeline.pair.config import MatchConfig
from imatch.pipeline.pair.match import match
from imatch.pipeline.registration.result import Registration
from imatch.pipeline.scene.config import SceneConfig, make_scene_config
from imatch.pipeline.scene.measure import measure_tile
from tests.support import saboteur
from tests.support.batch_client import killed_midway
from tests.support.kills import leave_half_made, made_by_the_dead

SIFT = MatchConfig(matcher="sift")
NAMES = ["a", "b", "c", "d"]


class Here(BatchExecutor):
    """Runs pairs in this process, where none is to be killed."""

    def run(
        self,
        task: BatchTask,
        pairs: Sequence[BatchPair],
        *,
        retries: int,
        timeout: float | None,
    ) -> Generator[BatchResult, None, None]:
        for pair in pairs:
            yield run_pair(task, pair)

    def facts(self) -> dict[str, Any]:
        return {"engine": "here"}


class Nobody(Here):
    """Must not be asked."""

    def run(
        self,
        task: BatchTask,
        pairs: Sequence[BatchPair],
        *,
        retries: int,
        timeout: float | None,
    ) -> Generator[BatchResult, None, None]:
        raise AssertionError(f"{len(pairs)} pairs are run")


def pairs_of(series: Path) -> list[BatchPair]:
    first, *others = sorted(str(path) for path in series.glob("*.tif"))
    return [BatchPair(name, first, path) for name, path in zip(NAMES, others, strict=True)]


def table(out: Path) -> list[BatchResult]:
    return read_rows(out / "results.csv", BatchResult)


def check_whole(run: BatchRun) -> None:
    """One row and one document a pair, and each the right answer."""
    assert [row.name for row in table(run.out)] == NAMES
    assert [row.row() for row in table(run.out)] == [row.row() for row in run.results]
    assert [path.stem for path in sorted((run.out / "results").iterdir())] == NAMES
    for step, row in enumerate(run.results, start=1):
        assert (row.status, row.error) == ("ok", "")
        assert row.shift_x_px == pytest.approx(step, abs=0.1)
        assert run.registration(row.name).shift_px == pytest.approx((step, 0), abs=0.1)


def test_every_pair_has_a_row_and_a_document(series: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    run = run_batch(
        pairs_of(series), SIFT, tmp_path / "out", on_result=lambda row: seen.append(row.name)
    )
    check_whole(run)
    assert seen == NAMES
    first = run.results[0]
    assert first.shift_east_m == pytest.approx(10, abs=1)
    assert 0 < first.ci95_px < 0.5
    assert first.bound_m == pytest.approx(10 * first.bound_px, rel=0.01)
    assert (first.attempts, first.matcher, first.passes) == (1, "sift", -1)
    assert run.counts == {"error": 0, "failed": 0, "uncertain": 0, "ok": 4}
    assert len({row.worker for row in run.results}) == 1
    record = json.loads((tmp_path / "out" / "batch.json").read_text())
    assert record["settings"]["matcher"] == "sift"
    assert [session["engine"] for session in record["sittings"]] == ["local"]


def test_what_fails_is_a_row_and_stops_nobody(series: Path, tmp_path: Path) -> None:
    pairs = pairs_of(series)
    Path(pairs[1].target).write_bytes(b"not an image")
    noise = np.random.default_rng(1).integers(0, 255, (1, 128, 128)).astype(np.uint8)
    with rasterio.open(pairs[2].target, "r+") as image:
        image.write(noise)
    run = run_batch(
        pairs, MatchConfig(matcher="sift", tolerance="1e-6 px"), tmp_path / "out", executor=Here()
    )
    by_name = {row.name: row for row in run.results}
    assert [by_name[name].status for name in NAMES] == ["ok", "error", "failed", "ok"]
    assert "2020-03-01.tif" in by_name["b"].error
    # Wrong input fails the same way again, so it is tried once.
    assert by_name["b"].attempts == 1
    assert by_name["c"].reason
    assert np.isnan(by_name["c"].shift_x_px)
    # A tolerance that is not met is no reliance either.
    assert by_name["a"].passes == 0
    assert not any(row.registered for row in run.results)
    assert [row.name for row, _ in run.registrations()] == ["a", "c", "d"]
    with pytest.raises(InputError, match="No such file"):
        run.registration("b")


def test_resuming_keeps_answers_and_tries_errors_again(series: Path, tmp_path: Path) -> None:
    pairs, out = pairs_of(series), tmp_path / "out"
    good = Path(pairs[1].target).read_bytes()
    Path(pairs[1].target).write_bytes(b"")
    first = run_batch(pairs, SIFT, out, executor=Here())
    assert first.counts["error"] == 1
    before = {row.name: row for row in first.results}
    # A row cut short by a crash, and what a killed worker was writing.
    with (out / "results.csv").open("a") as file:
        file.write("d,ok,-1,0.1")
    leave_half_made(out / "results" / "b.json")
    Path(pairs[1].target).write_bytes(good)
    # Another answer is due where an image has changed.
    os.utime(pairs[3].target, ns=(1, 1))
    again = run_batch(pairs, SIFT, out, resume=True, executor=Here())
    check_whole(again)
    after = {row.name: row for row in again.results}
    assert [after[name].attempts for name in NAMES] == [1, 2, 1, 2]
    assert made_by_the_dead(out / "results") == []
    # Kept to the letter, times and worker included.
    assert [after[name].row() == before[name].row() for name in NAMES] == [True, False, True, False]
    assert len(again.sessions) == 2
    # Nothing is left to do, so no worker is begun.
    assert [
        r.row() for r in run_batch(pairs, SIFT, out, resume=True, executor=Nobody()).results
    ] == [r.row() for r in again.results]
    # A row of a pair that is not asked for now is not thrown away.
    run_batch(pairs[:2], SIFT, out, resume=True, executor=Nobody())
    assert [row.name for row in table(out)] == NAMES


def test_a_mask_with_another_content_is_another_run(series: Path, tmp_path: Path) -> None:
    pairs, out, mask = pairs_of(series)[:1], tmp_path / "out", tmp_path / "mask.geojson"

    def ignore(side: int) -> None:
        ring = [[0, 0], [side, 0], [side, side], [0, side], [0, 0]]
        mask.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
        os.utime(mask, ns=(1, 1))

    ignore(10)
    masked = MatchConfig(matcher="sift", ref_mask=mask)
    run_batch(pairs, masked, out, executor=Here())
    run_batch(pairs, masked, out, resume=True, executor=Nobody())
    ignore(20)
    with pytest.raises(ConfigError, match="cannot resume: files was"):
        run_batch(pairs, masked, out, resume=True, executor=Nobody())


def test_an_image_replaced_after_it_was_matched_is_matched_again(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pair, out = pairs_of(series)[0], tmp_path / "out"
    target = Path(pair.target)

    def replaced_meanwhile(*args: Any, **kwargs: Any) -> Registration:
        found = match(*args, **kwargs)
        target.write_bytes(target.read_bytes() + b"more")
        return found

    monkeypatch.setattr("imatch.pipeline.batch.worker.match", replaced_meanwhile)
    run_batch([pair], SIFT, out, executor=Here())
    with pytest.raises(AssertionError):
        run_batch([pair], SIFT, out, resume=True, executor=Nobody())


def test_what_is_there_is_kept_unless_told(series: Path, tmp_path: Path) -> None:
    pairs, out = pairs_of(series)[:1], tmp_path / "out"
    run_batch(pairs, SIFT, out, executor=Here())
    (out / "notes.txt").write_text("mine")
    before = (out / "results.csv").read_bytes()
    nobody = Nobody()
    with pytest.raises(OutputError, match="already holds a batch; pass --resume"):
        run_batch(pairs, SIFT, out, executor=nobody)
    with pytest.raises(ConfigError, match="cannot resume: seed was 0 and is 3"):
        run_batch(pairs, MatchConfig(matcher="sift", seed=3), out, resume=True, executor=nobody)
    with FileLock(out / ".lock"), pytest.raises(OutputError, match="another batch is running"):
        run_batch(pairs, SIFT, out, resume=True, executor=nobody)
    assert (out / "results.csv").read_bytes() == before
    (out / "results" / "old.json").write_text("{}")
    replaced = run_batch(pairs, SIFT, out, overwrite=True, executor=Here())
    assert len(replaced.sessions) == 1
    assert not (out / "results" / "old.json").exists()
    assert (out / "notes.txt").read_text() == "mine"
    (out / "batch.json").write_text("[]")
    with pytest.raises(OutputError, match="is no record of a batch"):
        run_batch(pairs, SIFT, out, resume=True, executor=nobody)
    with pytest.raises(OutputError, match="already exists and is not empty"):
        run_batch(pairs, SIFT, tmp_path, executor=nobody)


def test_nothing_is_begun_that_cannot_end_well(series: Path, tmp_path: Path) -> None:
    pairs, out = pairs_of(series), tmp_path / "out"
    needy = MatchConfig(matcher="aliked-lightglue")
    with pytest.raises(WeightsError, match="weights not found"):
        run_batch(pairs, needy, out, executor=Nobody())
    with pytest.raises(ConfigError, match="retries count from 0"):
        run_batch(pairs, SIFT, out, timeout=0, executor=Nobody())
    Path(pairs[0].target).unlink()
    with pytest.raises(InputError, match="1 of the images does not exist"):
        run_batch(pairs, SIFT, out, executor=Nobody())
    assert not out.exists()


def test_a_killed_worker_costs_its_pair_an_attempt_and_the_others_nothing(
    series: Path, tmp_path: Path
) -> None:
    run = run_batch(pairs_of(series), SIFT, tmp_path / "out", jobs=2, finish=saboteur.kill_once)
    check_whole(run)
    assert [row.attempts for row in run.results] == [1, 1, 2, 1]


@pytest.mark.usefixtures("warm_workers")
def test_a_pair_that_kills_every_worker_is_given_up(series: Path, tmp_path: Path) -> None:
    run = run_batch(
        pairs_of(series), SIFT, tmp_path / "out", jobs=2, retries=1, finish=saboteur.kill_always
    )
    by_name = {row.name: row for row in run.results}
    assert [by_name[name].status for name in NAMES] == ["ok", "ok", "error", "ok"]
    assert by_name["c"].attempts == 2
    assert "killed by SIGKILL" in by_name["c"].error
    assert "the last of 2 attempts" in by_name["c"].error


@pytest.mark.usefixtures("warm_workers")
def test_a_bug_is_tried_again(series: Path, tmp_path: Path) -> None:
    pairs = pairs_of(series)[1:3]
    failing = run_batch(pairs, SIFT, tmp_path / "bug", finish=saboteur.fail_once)
    assert [(row.status, row.attempts) for row in failing.results] == [("ok", 1), ("ok", 2)]
    failed = run_batch(pairs[1:], SIFT, tmp_path / "once", retries=0, finish=saboteur.fail)
    assert failed.results[0].error.startswith("RuntimeError: a bug in two lines (saboteur.py")


@pytest.mark.usefixtures("warm_workers")
def test_a_hung_pair_is_ended(series: Path, tmp_path: Path) -> None:
    pairs = pairs_of(series)
    # A busy machine is not the pair's fault.
    usual = run_batch(pairs[:1], SIFT, tmp_path / "usual").results[0].seconds
    timeout = 2 + 5 * usual
    started = time.monotonic()
    # The pair after it needs a worker in its place.
    run = run_batch(pairs[2:], SIFT, tmp_path / "out", timeout=timeout, finish=saboteur.hang)
    assert time.monotonic() - started < timeout + 60
    hung, after = run.results
    assert (hung.status, hung.attempts, after.status) == ("error", 1, "ok")
    assert hung.error.startswith(f"took more than {timeout:g} s")


@pytest.mark.usefixtures("warm_workers")
def test_workers_that_cannot_live_end_the_run(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = batch_local._Worker._open

    def killed(worker: batch_local._Worker) -> None:
        opened(worker)
        worker._process.kill()

    # Each is killed as it comes up, as for want of memory.
    monkeypatch.setattr(batch_local._Worker, "_open", killed)
    with pytest.raises(ImatchError, match="killed before they are ready"):
        run_batch(pairs_of(series), SIFT, tmp_path / "out")
    # What was done (nothing) stands, and the folder is free again.
    with FileLock(tmp_path / "out" / ".lock", timeout=0):
        assert table(tmp_path / "out") == []


@pytest.mark.usefixtures("warm_workers")
def test_an_image_of_many_pairs_is_extracted_once_across_processes(
    series: Path, tmp_path: Path
) -> None:
    cache = FeatureCache(tmp_path / "features")
    run = run_batch(pairs_of(series), SIFT, tmp_path / "out", jobs=2, cache=cache)
    # Five images; the reference in all four pairs, for the two processes, in one of which a patch
    # that both show at the same pixels is left out of it.
    assert sum(row.extracted for row in run.results) == 6
    again = run_batch(pairs_of(series), SIFT, tmp_path / "again", cache=cache, executor=Here())
    assert sum(row.extracted for row in again.results) == 0
    assert sum(row.from_cache for row in again.results) == 6
    for one, other in zip(run.results, again.results, strict=True):
        assert (one.shift_x_px, one.bound_px) == (other.shift_x_px, other.bound_px)


def test_whole_scenes_are_registered_and_written(series: Path, tmp_path: Path) -> None:
    pairs = pairs_of(series)[:1]
    config = SceneConfig(matcher="sift", window=32)
    run = run_batch(pairs, config, tmp_path / "out", warp={"grid": "reference"}, executor=Here())
    assert run.results[0].status == "ok"
    assert "scene" in run.registration("a").provenance
    with (
        rasterio.open(run.out / "registered" / "a.tif") as made,
        rasterio.open(pairs[0].reference) as wanted,
    ):
        assert made.transform == wanted.transform
        inner = np.s_[10:-10, 10:-10]
        difference = made.read(1)[inner].astype(float) - wanted.read(1)[inner]
        assert np.abs(difference).mean() < 2
    assert not (run.out / "state").exists()


def test_what_marks_missing_ground_reaches_what_is_written(series: Path, tmp_path: Path) -> None:
    """The setting of all pairs, and of one in a table."""
    pair = pairs_of(series)[0]
    with rasterio.open(pair.target, "r+") as dataset:
        pixels = dataset.read(1)
        pixels[60:80, 60:90] = 255
        dataset.write(pixels, 1)
    config = SceneConfig(matcher="sift", window=32)
    own = BatchPair("own", pair.reference, pair.target, {"tgt_nodata": 255})
    shared = BatchPair("shared", pair.reference, pair.target)
    for one, settings in ((own, config), (shared, make_scene_config(config, tgt_nodata=255))):
        out = tmp_path / one.name
        run = run_batch([one], settings, out, warp={"grid": "reference"}, executor=Here())
        assert run.results[0].status == "ok", run.results[0].reason
        with rasterio.open(out / "registered" / f"{one.name}.tif") as dataset:
            assert dataset.nodata == 255
            missing = (dataset.read_masks(1) == 0)[30:140, 30:150]
        assert missing.sum() == pytest.approx(20 * 30, rel=0.25)


def test_what_is_not_near_enough_is_not_written(series: Path, tmp_path: Path) -> None:
    pairs = pairs_of(series)[:1]
    config = SceneConfig(matcher="sift", window=32, tolerance="0.0001px")
    run = run_batch(pairs, config, tmp_path / "out", warp={"grid": "reference"}, executor=Here())
    assert (run.results[0].status, run.results[0].passes) == ("ok", 0)
    assert not run.results[0].registered
    assert not (run.out / "registered").exists()


def test_a_killed_scene_goes_on_with_its_tiles(
    scene: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, tgt = scene("ref.tif").path, scene("tgt.tif", misplaced=(20.0, 0.0)).path
    pairs, out = [BatchPair("a", str(ref), str(tgt))], tmp_path / "out"
    config, warp = SceneConfig(matcher="sift", window=32, tile=128), {"grid": "reference"}
    whole = run_batch(pairs, config, tmp_path / "whole", warp=warp, executor=Here())
    measured: list[object] = []

    def measure(*task: Any) -> Any:
        measured.append(task)
        if len(measured) == 3:
            raise KeyboardInterrupt  # As good as a kill: nothing on the way out writes anything.
        return measure_tile(*task)

    monkeypatch.setattr("imatch.pipeline.scene.executor.measure_tile", measure)
    with pytest.raises(KeyboardInterrupt):
        run_batch(pairs, config, out, warp=warp, executor=Here())
    run = run_batch(pairs, config, out, warp=warp, resume=True, executor=Here())
    tiles = run.registration("a").provenance["scene"]["levels"][-1]["tiles"]["measured"]
    assert tiles > 2
    assert len(measured) == 1 + tiles
    assert (out / "registered" / "a.tif").read_bytes() == (
        whole.out / "registered" / "a.tif"
    ).read_bytes()
    assert not (out / "state").exists()


def test_scenes_in_archives_are_registered(series: Path, tmp_path: Path) -> None:
    pair = pairs_of(series)[0]
    archive = tmp_path / "scene.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(pair.target, "scene.tif")
    inside = BatchPair("a", pair.reference, f"/vsizip/{archive}/scene.tif")
    config, warp = SceneConfig(matcher="sift", window=32), {"grid": "reference"}
    run = run_batch([inside], config, tmp_path / "out", warp=warp, executor=Here())
    assert run.results[0].status == "ok", run.results[0].error
    assert (run.out / "registered" / "a.tif").exists()


def test_a_scene_whose_document_was_not_written_keeps_its_tiles(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("imatch.pipeline.batch.worker.write_json", interrupt)
    config, out = SceneConfig(matcher="sift", window=32), tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run_batch(pairs_of(series)[:1], config, out, warp={"grid": "reference"}, executor=Here())
    assert (out / "state" / "a" / "tiles.jsonl").read_text()


@pytest.mark.usefixtures("warm_workers")
def test_a_killed_client_is_resumed(series: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    kept = killed_midway(series, out)
    assert 1 <= len(kept) < 4
    run = run_batch(pairs_of(series), SIFT, out, jobs=2, resume=True)
    check_whole(run)
    assert set(kept) <= set((out / "results.csv").read_text().splitlines())
