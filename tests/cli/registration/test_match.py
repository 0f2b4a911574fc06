from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import Result
from numpy.typing import NDArray

from imatch.cli.registration.match import match
from imatch.export import FORMATS, NEED_A_TRANSFORM
from imatch.geometry.transform import MODEL_KINDS
from imatch.pipeline.pair.config import MatchConfig

Run = Callable[..., Result]
WriteImage = Callable[..., Path]
Pair = tuple[Path, Path]


def test_the_answer_is_read_off_the_terminal(run: Run, pair: Pair) -> None:
    result = run("match", *pair, "-m", "sift")
    assert result.exit_code == 0
    assert result.stdout.startswith("ok")
    assert re.search(r"east \+(29\.9\d|30\.0)\b", result.stdout)
    assert result.stderr == ""


def test_json_is_the_whole_document_and_nothing_else(run: Run, pair: Pair) -> None:
    result = run("match", *pair, "-m", "sift", "--format", "json")
    document = json.loads(result.stdout)
    assert document["schema"] == "imatch.registration/1"
    assert document["status"] == "ok"
    # The same pixels: the geocoding lies, the matrix does not.
    np.testing.assert_allclose(document["matrix"], np.eye(3), atol=0.02)
    np.testing.assert_allclose(document["shift_m"], [30, 0], atol=0.5)
    assert len(document["tie_points"]["ref_x"]) == document["n_matches"]
    assert result.stderr == ""


def test_every_format_is_written_and_named(run: Run, pair: Pair, tmp_path: Path) -> None:
    paths = [tmp_path / f"result{suffix}" for suffix in FORMATS]
    result = run("match", *pair, "-m", "sift", *(x for path in paths for x in ("-o", path)))
    assert result.exit_code == 0, result.stderr
    assert all(path.stat().st_size > 0 for path in paths)
    assert result.stderr.splitlines() == [f"wrote {path}" for path in paths]
    assert result.stdout.startswith("ok")


def test_plot_is_one_more_output(run: Run, pair: Pair, tmp_path: Path) -> None:
    result = run("match", *pair, "-m", "sift", "--plot", tmp_path / "result.png")
    assert result.exit_code == 0
    assert (tmp_path / "result.png").read_bytes().startswith(b"\x89PNG")


def test_plot_draws_png_only(run: Run, pair: Pair, tmp_path: Path) -> None:
    result = run("match", *pair, "--plot", tmp_path / "result.pdf")
    assert result.exit_code == 2
    assert "result.pdf: --plot draws a .png" in result.stderr


def test_quiet_leaves_only_the_answer(run: Run, pair: Pair, tmp_path: Path) -> None:
    result = run("match", *pair, "-m", "sift", "-q", "-o", tmp_path / "result.json")
    assert result.stderr == ""
    assert result.stdout.startswith("ok")


def test_overwrite(run: Run, pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    path.write_text("old")
    assert run("match", *pair, "-m", "sift", "-o", path, "--overwrite").exit_code == 0
    assert json.loads(path.read_text())["status"] == "ok"


def test_the_same_file_twice_is_the_identity(run: Run, pair: Pair) -> None:
    result = run("match", pair[0], pair[0], "-m", "sift", "--format", "json")
    assert result.exit_code == 0
    document = json.loads(result.stdout)
    assert document["status"] == "ok"
    np.testing.assert_allclose(document["matrix"], np.eye(3), atol=1e-3)
    np.testing.assert_allclose(document["shift_px"], [0, 0], atol=1e-3)


def test_without_geocoding_pixels_serve(run: Run, pair: Pair) -> None:
    result = run("match", *pair, "-m", "sift", "--no-geocoding", "--gsd", "10", "--format", "json")
    document = json.loads(result.stdout)
    np.testing.assert_allclose(document["matrix"], np.eye(3), atol=0.02)
    np.testing.assert_allclose(document["shift_px"], [0, 0], atol=0.05)


def test_bands_are_chosen_by_number_and_by_side(
    run: Run, write_image: WriteImage, ground: NDArray[np.uint16]
) -> None:
    other = np.full_like(ground, 500)
    ref = write_image("ref.tif", np.stack([ground, other]))
    tgt = write_image("tgt.tif", np.stack([other, ground]))
    chosen = run(
        "match", ref, tgt, "-m", "sift", "--ref-bands", "1", "--tgt-bands", "2", "--format", "json"
    )
    assert chosen.exit_code == 0, chosen.stderr
    assert json.loads(chosen.stdout)["provenance"]["config"]["tgt_bands"] == [2]
    blank = run("match", ref, tgt, "-m", "sift", "--bands", "2")
    assert blank.exit_code != 0


def test_settings_come_from_file_then_set_then_options(
    run: Run, pair: Pair, tmp_path: Path
) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text("matcher: sift\nsize: 512\nseed: 5\nmax_keypoints: 700\n")
    result = run(
        "match",
        *pair,
        "--config",
        file,
        "-s",
        "seed=6",
        "-s",
        "size=600",
        "--size",
        "640",
        "--format",
        "json",
    )
    config = json.loads(result.stdout)["provenance"]["config"]
    assert (config["matcher"], config["max_keypoints"]) == ("sift", 700)
    assert (config["seed"], config["size"]) == (6, 640)


def test_a_tolerance_that_is_met(run: Run, pair: Pair) -> None:
    result = run("match", *pair, "-m", "sift", "--tolerance", "0.5px")
    assert result.exit_code == 0, result.stderr
    assert re.search(r"certificate +passes 0\.5 px: all of the overlap within", result.stdout)
    assert result.stderr == ""


def test_a_tolerance_that_is_not_met(run: Run, pair: Pair, tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    result = run("match", *pair, "-m", "sift", "--tolerance", "1e-9m", "--size", "200", "-o", path)
    assert result.exit_code == 3
    said, wrote = result.stderr.splitlines()
    assert said.startswith("imatch: tolerance not met: fails 1e-09 m: all of the overlap within ")
    assert wrote == f"wrote {path}"
    certificate = json.loads(path.read_text())["certificate"]
    assert certificate["tolerance"] == "1e-09 m"
    assert certificate["passes"] is False


def test_a_tolerance_in_metres_needs_metres(run: Run, pair: Pair, tmp_path: Path) -> None:
    bare = []
    for path in pair:
        image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert image is not None
        bare.append(tmp_path / f"{path.stem}.png")
        cv2.imwrite(str(bare[-1]), image)
    result = run("match", *bare, "-m", "sift", "--tolerance", "3m")
    assert result.exit_code == 2
    assert "tolerance 3 m: neither image says" in result.stderr
    assert "--gsd" in result.stderr
    assert run("match", *bare, "-m", "sift", "--tolerance", "3m", "--gsd", "10").exit_code == 0


def test_a_tolerance_without_a_unit(run: Run, pair: Pair) -> None:
    result = run("match", *pair, "-m", "sift", "--tolerance", "3")
    assert result.exit_code == 2
    assert "tolerance: '3' is no positive number with px or m: write 0.3px or 3m" in result.stderr


def test_the_result_repeats(run: Run, pair: Pair) -> None:
    def once() -> dict[str, Any]:
        document: dict[str, Any] = json.loads(
            run("match", *pair, "-m", "sift", "--format", "json").stdout
        )
        del document["seconds"]
        return document

    assert once() == once()


def test_a_refusal_is_written_where_it_can_be(
    run: Run, pair: Pair, write_image: WriteImage, tmp_path: Path
) -> None:
    blank = write_image("blank.tif", np.full((256, 256), 900, np.uint16))
    paths = [tmp_path / f"result{suffix}" for suffix in FORMATS]
    result = run("match", pair[0], blank, "-m", "sift", *(x for p in paths for x in ("-o", p)))
    assert result.exit_code == 3
    written = {path.suffix for path in paths if path.exists()}
    assert written == set(FORMATS) - NEED_A_TRANSFORM
    document = json.loads((tmp_path / "result.json").read_text())
    assert document["status"] == "failed"
    assert document["matrix"] is None
    assert f"imatch: failed: {document['reason']}" in result.stderr.splitlines()
    for path in paths:
        said = "wrote" if path.suffix in written else "not written:"
        assert any(line.startswith(f"{said} {path}") for line in result.stderr.splitlines())


def test_the_help_names_every_format_and_the_true_defaults() -> None:
    helps = {param.name: getattr(param, "help", None) or "" for param in match.params}
    assert all(suffix in helps["outputs"] for suffix in FORMATS)
    choices = {param.name: getattr(param.type, "choices", ()) for param in match.params}
    assert ("auto", *MODEL_KINDS) == tuple(choices["model"])
    defaults = MatchConfig()
    for name in (
        "matcher",
        "model",
        "size",
        "max_keypoints",
        "threshold_px",
        "margin",
        "device",
        "seed",
    ):
        assert f"[default: {getattr(defaults, name)}]" in helps[name], name


def test_every_setting_has_an_option() -> None:
    options = {param.name for param in match.params}
    aliases = {"use_geocoding": "no_geocoding", "fetch": "offline"}
    missing = {aliases.get(name, name) for name in MatchConfig.model_fields} - options
    assert missing == set()


@pytest.mark.parametrize("name", ["seed", "size"])
def test_impossible_values_are_usage_errors(run: Run, pair: Pair, name: str) -> None:
    result = run("match", *pair, "-m", "sift", f"--{name}", "-1")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"imatch: error: {name}: ")


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ([], [None, None]),
        (["--modality", "sar"], ["sar", "sar"]),
        (["--tgt-modality", "map"], [None, "map"]),
        (["--modality", "ir", "--ref-modality", "optical"], ["optical", "ir"]),
    ],
)
def test_the_sensors_can_be_said(
    run: Run, pair: Pair, asked: list[str], expected: list[str | None]
) -> None:
    result = run("match", *pair, "-m", "sift", *asked, "--format", "json")
    document = json.loads(result.stdout)
    found = [document[side]["modality"] for side in ("reference", "target")]
    assert [said for said, wanted in zip(found, expected, strict=True) if wanted] == [
        wanted for wanted in expected if wanted
    ]
    assert "radar" not in run("match", *pair, "-m", "sift").stdout
