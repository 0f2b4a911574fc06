"""Every verb of the command line that writes, and what a killed run of it may leave."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.kills import Ended, Killer
from tests.support.verb_inputs import PRODUCT

#: What comes before and after `Verb.arguments` is made absolute: ``<`` an input, ``>`` an output.
Arguments = tuple[str, ...]
Files = dict[str, bytes]


@dataclass(frozen=True)
class Verb:
    """A command line that writes.

    Attributes:
        name: What it is called here.
        arguments: After ``imatch``; ``<x`` is the input x, ``>x`` the output x.
        resume: What to add to go on with a killed run.
        begun: The output without which there is nothing to go on with.
        overwrite: What to add where a whole output is there already; empty for verbs that need
            nothing of the kind.
        before: Inputs that lie in the output folder before, by their names there.
        prepare: See `Killer.run`.
        code: Its exit code.
        done: What it says, with another code, where all but the tidying up was done.
        grows: Whether what it makes may be seen half done, because it goes on with it.
    """

    name: str
    arguments: Arguments
    resume: Arguments = ()
    begun: str = ""
    overwrite: Arguments = ("--overwrite",)
    before: tuple[tuple[str, str], ...] = ()
    prepare: str | None = None
    code: int = 0
    done: str = ""
    grows: bool = False


def _of(command: str, *arguments: str, **how: Any) -> Verb:
    """A verb from its command line; `how` are the other attributes."""
    words = tuple(command.split())
    name = how.pop("name", None) or "-".join(word for word in words[:2] if word.isalpha())
    return Verb(name, (*words, *arguments), **how)


_MATCH = ("-m", "sift", "--no-geocoding")
_RESUMED: dict[str, Any] = {"resume": ("--resume",), "overwrite": (), "grows": True}
_SCENE = ("-m", "sift", "-s", "window=32", "-s", "tile=128", "--jobs", "1")
_CHIPS = ("--chip", "64", "--min-texture", "0", "--max-pairs", "1", "--max-cloud", "1")
_TRAINED: dict[str, Any] = {**_RESUMED, "begun": "run/config.yaml"}
_HERE = "tests.support.verb_inputs:"

VERBS = (
    _of(
        "match <ref.tif <tgt.tif -m sift",
        *(f"-o>a.{kind}" for kind in ("json", "geojson", "gpkg", "points", "csv", "npz", "vrt")),
        *("--plot", ">a.png"),
    ),
    _of(
        "match <ref.tif <tgt.tif -m sift -o>a.json -o>a.gpkg -o>a.points --overwrite",
        name="match-overwrite",
        before=(("other.json", "a.json"), ("fields.gpkg", "a.gpkg"), ("notes", "a.points")),
        overwrite=(),
    ),
    _of(
        "register <ref.tif <tgt.tif >a.tif -o>a.json --report >a.html",
        *_SCENE,
        name="register",
        resume=("--resume",),
    ),
    _of(
        "register <ref.tif <tgt.tif >a.tif --cog --report >figures.json --overwrite",
        *_SCENE,
        name="register-overwrite",
        before=(("tgt.tif", "a.tif"),),
        overwrite=(),
    ),
    _of("apply <match.json <tgt.tif <ref.tif -o>", name="apply-rasters"),
    _of("apply <match.json <tgt.tif -o>a.tif --geotransform-only", name="apply-geotransform"),
    _of("apply <match.json <fields.gpkg <fields.geojson <fields.shp -o>", name="apply-vectors"),
    _of(f"apply <product.json <{PRODUCT} -o>", name="apply-product"),
    _of(
        f"apply <product.json <{PRODUCT} -o> --overwrite",
        name="apply-product-overwrite",
        before=((PRODUCT, PRODUCT),),
        overwrite=(),
    ),
    _of(
        "batch <pairs.csv -o>out -m sift --no-cache --export gpkg --export points",
        name="batch",
        code=3,
        **_RESUMED,
    ),
    _of(
        "batch <scenes.csv -o>out -m sift --no-cache --register -s window=32 -s tile=128",
        name="batch-register",
        **_RESUMED,
    ),
    _of(
        "stack -o>out -m sift --no-cache --warp",
        *(f"<series/2020-0{month}-01.tif" for month in (1, 2, 3)),
        name="stack",
        **_RESUMED,
    ),
    _of("index <ref.tif <far.tif -o>index -e edges", grows=True, overwrite=(), name="index"),
    _of(
        "index --remove <far.tif -o>index",
        grows=True,
        overwrite=(),
        before=(("index", "index"),),
        done="is not in the index",
        name="index-remove",
    ),
    _of(
        "search <index <query.tif -k 2 --verify -m sift --registration >found.json",
        *(f"-o>hits{suffix}" for suffix in (".json", ".geojson", ".csv", ".png")),
        name="search",
    ),
    _of(
        "same <ref.tif <tgt.tif --no-embedder -m sift --decision <decision.json",
        *("--no-geocoding", "--registration", ">found.json"),
        name="same",
    ),
    _of("duplicates <pictures -o>out.csv", name="duplicates"),
    _of("bench <bench/cases.csv -m sift -o>out --detectors", name="bench", **_RESUMED),
    _of("eval pairs <pictures/pairs.csv --task duplicates --fit >own.json -o>figures.json"),
    _of("eval retrieval <grid -e edges -o>figures.json"),
    _of("eval embedding <grid --labels <map.tif -e edges --split train --draws 2 -o>figures.json"),
    _of("data prepare <series/2020-01-01.tif <series/2020-03-01.tif -o>out", *_CHIPS, **_RESUMED),
    _of("data preview <grid -o>sheet.png --count 1"),
    _of(
        "data fetch kaggle-deforestation -o>out",
        name="data-fetch-kaggle",
        prepare=f"{_HERE}kaggle",
        grows=True,
        overwrite=(),
    ),
    _of(
        "data fetch stac --url <stac/catalog.json --bbox 1,43,2,44 --dates 2020 -o>out",
        name="data-fetch-stac",
        grows=True,
        overwrite=(),
    ),
    *(_of(f"train {kind} <{kind}.yaml -o>run", **_TRAINED) for kind in ("superpoint", "loftr")),
    _of("train embedder <embedder.yaml -o>run", **_TRAINED),
    *(
        _of(f"train {kind} -o <{kind} --export >own.safetensors", name=f"train-{kind}-export")
        for kind in ("superpoint", "loftr", "embedder")
    ),
    _of("weights fetch one two", prepare=f"{_HERE}publish", overwrite=(), grows=True),
    _of("qgis package >a.zip"),
    _of("qgis install --profile >", overwrite=()),
)


@dataclass(frozen=True)
class Bench:
    """Where verbs are run and killed.

    Attributes:
        folder: Holds ``inputs`` and, anew for each run, ``work``.
        killer: Runs them.
    """

    folder: Path
    killer: Killer

    @property
    def work(self) -> Path:
        """The folder of outputs."""
        return self.folder / "work"

    def begin(self, verb: Verb) -> None:
        """Make the folder of outputs what it is before."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        for source, name in verb.before:
            kept = self.folder / "inputs" / source
            if kept.is_dir():
                shutil.copytree(kept, self.work / name)
            else:
                shutil.copy2(kept, self.work / name)

    def run(self, verb: Verb, *more: str, kill_at: int | None = None) -> Ended:
        """Run a verb on the folder as it is."""
        return self.killer.run(
            [*self._absolute(verb.arguments), *more],
            watched=self.work,
            kill_at=kill_at,
            prepare=verb.prepare,
        )

    def whole(self, verb: Verb) -> tuple[Files, list[str]]:
        """What an uninterrupted run leaves, and its moments."""
        self.begin(verb)
        ended = self.run(verb)
        assert ended.code == verb.code, ended.said
        return self.files(), ended.moments

    def killed(self, verb: Verb, moment: int, whole: Files) -> str | None:
        """Kill a verb, run it again, and say what is wrong with what there is then."""
        self.begin(verb)
        before = self.files()
        ended = self.run(verb, kill_at=moment)
        if ended.code != -9:
            return f"was not killed, but ended with {ended.code}: {ended.said}"
        left = {name: data for name, data in self.files().items() if "/." not in f"/{name}"}
        if not verb.grows:
            for name, data in left.items():
                if data not in (whole.get(name), before.get(name)):
                    return f"left {name} half done"
        more: list[str] = []
        if verb.resume and (self.work / verb.begun).exists():
            more += verb.resume
        if any(data and data != before.get(name) for name, data in left.items()):
            more += verb.overwrite
        again = self.run(verb, *more)
        if again.code != verb.code and not (verb.done and verb.done in again.said):
            return f"cannot be run again with {more}: {again.said}"
        now = self.files()
        if missing := whole.keys() ^ now.keys():
            return f"leaves, or lacks, {sorted(missing)}"
        for name, data in whole.items():
            if now[name] != data:
                return f"writes another {name}: {_difference(data, now[name])}"
        return None

    def files(self) -> Files:
        """All there is in the folder of outputs, folders as nothing; without what is of the run."""
        return {
            path.relative_to(self.work).as_posix(): settled(path) if path.is_file() else b""
            for path in sorted(self.work.rglob("*"))
        }

    def _absolute(self, arguments: Sequence[str]) -> list[str]:
        places = {"<": f"{self.folder / 'inputs'}/", ">": f"{self.work}/"}
        return [re.sub("[<>]", lambda found: places[found[0]], item) for item in arguments]


# What a run has for itself: how fast it was by clocks that go on, its processes' numbers, and how
# many sittings it took.
_SPEED = {"pairs_per_s", "loading_share", "chips_per_s"}
_FACTS = re.compile(
    rb"<dt>(Commands|Started|Workers)</dt><dd>.*?</dd>|^\W*(Commands|Started)\b.*$|host:\d+", re.M
)
_OF_THE_RUN = _SPEED | {"sittings", "workers", "worker"}


def settled(path: Path) -> bytes:
    """A file without what a run has for itself."""
    data = path.read_bytes()
    data = data.replace(socket.gethostname().encode(), b"host")
    if path.suffix in (".json", ".jsonl"):
        lines = data.splitlines() if path.suffix == ".jsonl" else [data]
        return b"\n".join(json.dumps(_without(json.loads(line))).encode() for line in lines)
    if path.suffix == ".csv":
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        return json.dumps(_without(rows)).encode()
    if path.suffix in (".html", ".md"):
        return _FACTS.sub(b"", data)
    return data


def _difference(one: bytes, other: bytes) -> str:
    """What stands where they begin to differ."""
    both = enumerate(zip(one, other, strict=False))
    at = next((place for place, (a, b) in both if a != b), min(len(one), len(other)))
    first, second = (data[max(0, at - 40) : at + 40] for data in (one, other))
    return f"{first!r}, {second!r}"


def _kept(key: str) -> bool:
    return key.rpartition("/")[2] not in _OF_THE_RUN


def _without(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without(part) for key, part in value.items() if _kept(key)}
    return [_without(part) for part in value] if isinstance(value, list) else value
