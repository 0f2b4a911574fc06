"""Whole inputs of every other kind that the command line reads, and commands that read them."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import yaml
from shapely.geometry import box

from tests.support.fuzz.rasters import (
    CRS,
    FORMATS,
    QUICK,
    SCENE,
    Build,
    Command,
    Run,
    Sample,
    base,
    ground,
    match,
    write,
)
from tests.support.fuzz.rasters import SIDE as SIDE
from tests.support.training_runs import SMALL


def _registration(folder: Path, run: Run) -> Sample:
    inside = folder / "in"
    inside.mkdir()
    base(inside, run)
    run(inside, "register", "ref.tif", "tgt.tif", "made.tif", *QUICK, "--local", "polynomial2",
        "--spacing", "16", "--jobs", "1", "--force", "-o", "local.json")  # fmt: skip
    run(inside, "match", "ref.tif", "tgt.tif", *QUICK, "--no-geocoding", "-o", "pixels.json")
    table = geopandas.GeoDataFrame(geometry=[box(356_200, 4_834_300, 356_500, 4_834_600)], crs=CRS)
    table.to_file(inside / "shape.geojson")
    commands: list[Command] = []
    for name in ("result.json", "local.json", "pixels.json"):
        out = ("-o", "../out/applied", "--force")
        commands += [
            ("apply", name, "tgt.tif", *out),
            ("apply", name, "tgt.tif", "--grid", "target", *out),
            ("apply", name, "shape.geojson", *out),
            ("apply", name, "tgt.tif", "--geotransform-only", *out),
        ]
    victims = ("result.json", "local.json", "pixels.json")
    return Sample(victims, tuple(commands), weight=3)


def _pairs(folder: Path, run: Run) -> Sample:
    inside = folder / "in"
    inside.mkdir()
    base(inside, run)
    (inside / "pairs.csv").write_text(
        "reference,target,name,matcher,ref_nodata,size,seed\n"
        "ref.tif,tgt.tif,one,sift,0,512,0\ntgt.tif,ref.tif,two,phase,,256,1\n"
    )
    (inside / "copies.csv").write_text("a,b\nref.tif,tgt.tif\ntgt.tif,ref.tif\n")
    return Sample(
        ("pairs.csv", "copies.csv"),
        (
            ("batch", "pairs.csv", "-o", "../out/batch", *QUICK, "--no-cache"),
            ("duplicates", "copies.csv", "-o", "../out/copies.csv"),
        ),
    )


def _cases(folder: Path, run: Run) -> Sample:
    from imatch.benchmark.cases import Case, write_cases

    inside = folder / "in"
    inside.mkdir()
    base(inside, run)
    shift = np.array([[1.0, 0, 6], [0, 1, -4], [0, 0, 1]])
    write_cases(
        inside / "cases.csv",
        [Case("near", "made", "near", "clear", "ref.tif", "ref.tif", shift, shift)],
    )
    command = ("bench", "cases.csv", "-m", "sift", "-o", "../out/bench", "--offline")
    return Sample(("cases.csv",), (command,))


def _settings(folder: Path, run: Run) -> Sample:
    inside = folder / "in"
    inside.mkdir()
    base(inside, run)
    (inside / "match.yaml").write_text(
        "matcher: sift\nseed: 1\nsize: 512\nmodel: affine\nthreshold: 2.5\nmargin: 0.2\n"
        "max_keypoints: 1000\nref_bands: [1]\nrefine: true\nnodata: 0\n".replace("nodata: 0\n", "")
    )
    (inside / "train.yaml").write_text(yaml.safe_dump(TRAINED))
    return Sample(
        ("match.yaml", "train.yaml"),
        (
            (*match("tgt.tif")[:3], "--offline", "--config", "match.yaml", "-o", "../out/r.json"),
            ("train", "superpoint", "train.yaml", "-o", "../out/run", "--device", "cpu", *BRIEF),
        ),
    )


#: The smallest training run there is.
TRAINED: dict[str, Any] = {**SMALL["superpoint"], "validate_every": 1}


#: However many steps what is left of the settings asks for.
BRIEF = ("-s", "steps=2", "-s", "max_minutes=0.1", "-s", "data.landscapes=2", "-s", "trackers=[]")


def _files(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()))


def _outputs(folder: Path) -> tuple[str, ...]:
    return tuple(f"../out/{name}" for name in _files(folder / "out"))


def _training(folder: Path, run: Run) -> Sample:
    inside = folder / "in"
    inside.mkdir()
    (inside / "train.yaml").write_text(yaml.safe_dump(TRAINED))
    run(inside, "train", "superpoint", "train.yaml", "-o", "../out/run", "--device", "cpu")
    resumed = ("train", "superpoint", "-o", "../out/run", "--resume", "-s", "steps=3")
    export = ("train", "superpoint", "-o", "../out/run", "--export", "../out/n.safetensors")
    return Sample(_outputs(folder), (resumed, resumed, export), resumed=True)


def _weights(folder: Path, run: Run) -> Sample:
    inside = folder / "in"
    inside.mkdir()
    base(inside, run)
    (inside / "train.yaml").write_text(yaml.safe_dump(TRAINED))
    run(inside, "train", "superpoint", "train.yaml", "-o", "run", "--device", "cpu")
    run(inside, "train", "superpoint", "-o", "run", "--export", "own.safetensors")
    checkpoint = sorted((inside / "run" / "checkpoints").glob("*.*"))[-1]
    shutil.copy(checkpoint, inside / f"own{checkpoint.suffix}")
    shutil.rmtree(inside / "run")
    commands = tuple(
        ("match", "ref.tif", "tgt.tif", "-m", "superpoint", "--offline", "--size", "256",
         "--weights", f"superpoint={name}", "-o", "../out/r.json")
        for name in ("own.safetensors", f"own{checkpoint.suffix}")
    )  # fmt: skip
    start = ("train", "superpoint", "train.yaml", "-o", "../out/run", "--device", "cpu", "-s")
    return Sample(
        ("own.safetensors", f"own{checkpoint.suffix}"),
        (*commands, (*start, "model.start=own.safetensors")),
    )


def _index(folder: Path, run: Run) -> Sample:
    inside = folder / "in"
    inside.mkdir()
    base(inside, run)
    run(inside, "index", "ref.tif", "tgt.tif", "-o", "../out/index", "-e", "edges")
    search = ("search", "../out/index", "tgt.tif", "-o", "../out/hits.json")
    return Sample(
        _outputs(folder),
        (
            search,
            search,
            (*search, "--verify", "-m", "sift", "--offline", "-k", "2"),
            ("index", "tgt.tif", "-o", "../out/index"),
            ("index", "--remove", "tgt.tif", "-o", "../out/index"),
            (*search[:3], "-o", "../out/hits.geojson", "--stand-out"),
        ),
        resumed=True,
        weight=2,
    )


def _decision(folder: Path, run: Run) -> Sample:
    from imatch.retrieval import decision

    inside = folder / "in"
    inside.mkdir()
    base(inside, run)
    shipped = Path(decision.__file__).parent / "decisions"
    for name in ("same.json", "duplicates.json"):
        shutil.copy(shipped / name, inside / name)
    (inside / "copies.csv").write_text("a,b\nref.tif,tgt.tif\n")
    same = ("same", "ref.tif", "tgt.tif", "--no-embedder", "-m", "sift", "--offline")
    return Sample(
        ("same.json", "duplicates.json"),
        (
            (*same, "--decision", "same.json"),
            ("duplicates", "copies.csv", "--decision", "duplicates.json"),
        ),
    )


def _batch(folder: Path, run: Run) -> Sample:
    inside = folder / "in"
    inside.mkdir()
    base(inside, run)
    (inside / "pairs.csv").write_text(
        "reference,target,name\nref.tif,tgt.tif,one\ntgt.tif,ref.tif,two\n"
    )
    command = ("batch", "pairs.csv", "-o", "../out/batch", *QUICK, "--no-cache")
    run(inside, *command, "--export", "gpkg")
    return Sample(_outputs(folder), ((*command, "--resume"),), resumed=True)


def _stack(folder: Path, run: Run) -> Sample:
    inside = folder / "in"
    inside.mkdir()
    base(inside, run)
    write(inside / "third.tif", ground()[:, 2 : 2 + SIDE, 8 : 8 + SIDE])
    command = ("stack", "ref.tif", "tgt.tif", "third.tif", "-o", "../out/stack", *QUICK)
    run(inside, *command, "--no-cache", "--warp")
    resumed = ((*command, "--no-cache", "--warp", "--resume"),)
    return Sample(_outputs(folder), resumed, resumed=True)


def _bench(folder: Path, run: Run) -> Sample:
    sample = _cases(folder, run)
    (command,) = sample.commands
    run(folder / "in", *command)
    return Sample(_outputs(folder), ((*command, "--resume"),), resumed=True)


def _scene(folder: Path, run: Run) -> Sample:
    """What an interrupted `register` leaves: its tiles."""
    inside = folder / "in"
    inside.mkdir()
    base(inside, run)
    command = ("register", "ref.tif", "tgt.tif", "../out/r.tif", *QUICK, *SCENE)
    run(inside, *command, unfinished=True)
    (folder / "out" / "r.tif").unlink()
    return Sample(_outputs(folder), ((*command, "--resume"),), resumed=True)


#: Everything that is damaged.
KINDS: dict[str, Build] = {
    **FORMATS,
    "registration": _registration,
    "pairs": _pairs,
    "cases": _cases,
    "settings": _settings,
    "weights": _weights,
    "decision": _decision,
    "index": _index,
    "training": _training,
    "batch": _batch,
    "stack": _stack,
    "bench": _bench,
    "scene": _scene,
}
