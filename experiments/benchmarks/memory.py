"""How much memory and time does a match of two whole Sentinel-2 tiles take?

Two scenes of 10980 x 10980 pixels are written, the second shifted and in another season, as tiled
deflate GeoTIFF and as JPEG 2000. Each is then matched by ``python -m imatch match`` in a process of
its own, whose peak resident memory the system reports:

    python experiments/benchmarks/memory.py -o memory.json --work /tmp/imatch-memory
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

# Nothing heavy is imported here: a child's peak memory includes its parent's at the moment of the
# fork, so the scenes are made in a process of their own as well.
from imatch.bench.environment import environment
from imatch.core.io.files import atomic_path

# The target shows what lies at (x, y) in the reference at (x + dx, y + dy).
_SHIFT = (137.0, -86.0)
_ZOOM = 8
_TILE = 512
_DRIVERS: dict[str, dict[str, Any]] = {
    "tif": {
        "driver": "GTiff",
        "tiled": True,
        "blockxsize": _TILE,
        "blockysize": _TILE,
        "compress": "deflate",
        "predictor": 2,
        "zlevel": 1,
    },
    "jp2": {
        "driver": "JP2OpenJPEG",
        "quality": 25,
        "reversible": "NO",
        "blockxsize": 1024,
        "blockysize": 1024,
    },
}


def make_scenes(folder: Path, side: int, bands: int) -> None:
    """Write ``ref.tif``, ``tgt.tif`` and their JPEG 2000 copies, row of tiles by row of tiles."""
    import cv2
    import numpy as np
    import rasterio
    from rasterio.shutil import copy
    from rasterio.transform import from_origin

    from imatch.datasets.synthetic.landscape import landscape
    from imatch.datasets.synthetic.landscape_view import SEASONS, render_landscape

    cv2.setNumThreads(1)
    margin = 32
    ground = landscape((side // _ZOOM + 2 * margin, side // _ZOOM + 2 * margin), 11)
    shape = {"width": side, "height": side, "count": bands, "dtype": "uint16", "nodata": 0}
    place = {"crs": "EPSG:32631", "transform": from_origin(300000, 4900020, 10, 10)}
    for name, season, shift in (
        ("ref", SEASONS[1], (0.0, 0.0)),
        ("tgt", SEASONS[2], _SHIFT),
    ):
        scene, _ = render_landscape(ground, season, noise=0.003, seed=len(name))
        scene = (1000 + 6000 * scene[:bands]).astype(np.float32)
        rng = np.random.default_rng(len(season))
        path = folder / f"{name}.tif"
        with (
            atomic_path(path, overwrite=True) as part,
            rasterio.open(part, "w", **shape, **place, **_DRIVERS["tif"]) as out,
        ):
            for top in range(0, side, _TILE):
                rows = min(_TILE, side - top)
                # From a pixel of these rows to the scene, corner-based.
                x, y = ((0.5 - s) / _ZOOM - 0.5 + margin for s in shift)
                back = np.array([[1 / _ZOOM, 0, x], [0, 1 / _ZOOM, y + top / _ZOOM]])
                for band in range(bands):
                    strip = cv2.warpAffine(
                        scene[band],
                        back,
                        (side, rows),
                        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
                        borderMode=cv2.BORDER_REPLICATE,
                    )
                    noisy = np.asarray(strip) + rng.normal(0, 20, strip.shape)
                    window = ((top, top + rows), (0, side))
                    out.write(np.clip(noisy, 1, 65535).astype(np.uint16), band + 1, window=window)
        with atomic_path(folder / f"{name}.jp2", overwrite=True) as part:
            copy(path, part, **_DRIVERS["jp2"])


def run_match(ref: Path, tgt: Path, matcher: str, out: Path) -> dict[str, Any]:
    """Match in a process of its own; its peak memory, time, status and error."""
    out.unlink(missing_ok=True)
    command = [sys.executable, "-m", "imatch", "match", str(ref), str(tgt), "-m", matcher]
    started = time.perf_counter()
    with subprocess.Popen(
        [*command, "-o", str(out), "--quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        message = process.stderr.read().decode()
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
    # Kibibytes on Linux, bytes on macOS.
    unit = 1 if sys.platform == "darwin" else 1024
    row: dict[str, Any] = {
        "matcher": matcher,
        "format": ref.suffix[1:],
        "exit": process.returncode,
        "seconds": round(time.perf_counter() - started, 1),
        "peak_gb": round(usage.ru_maxrss * unit / 1e9, 2),
    }
    if not out.exists():
        return row | {"status": "none", "message": message.strip()[-300:]}
    found = json.loads(out.read_text())
    row["status"] = found["status"]
    if found["shift_px"] is not None:
        row["error_px"] = [
            round(got - true, 2) for got, true in zip(found["shift_px"], _SHIFT, strict=True)
        ]
        row["ci95_px"] = found["ci95_px"]
    return row


def main() -> None:
    """Make the scenes where they are missing, match them, print a table and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("-o", "--out", type=Path, help="JSON file to write")
    parser.add_argument("--work", type=Path, required=True, help="folder for some 2 GB of scenes")
    parser.add_argument("-m", "--matcher", action="append", help="default: the usual three")
    parser.add_argument("--format", action="append", choices=list(_DRIVERS), help="default: both")
    parser.add_argument("--side", type=int, default=10980, help="pixels")
    parser.add_argument("--bands", type=int, default=3, choices=(1, 3))
    parser.add_argument("--make-only", action="store_true", help="write the scenes and stop")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    scenes = [args.work / f"{name}.{kind}" for name in ("ref", "tgt") for kind in _DRIVERS]
    if args.make_only:
        make_scenes(args.work, args.side, args.bands)
        return
    if not all(scene.exists() for scene in scenes):
        own = [sys.executable, __file__, "--work", str(args.work), "--make-only"]
        subprocess.run([*own, "--side", str(args.side), "--bands", str(args.bands)], check=True)
    record = environment(" ".join(["python", *sys.argv]))
    rows = []
    for kind in args.format or list(_DRIVERS):
        for matcher in args.matcher or ["sift", "aliked-lightglue", "auto"]:
            ref, tgt = args.work / f"ref.{kind}", args.work / f"tgt.{kind}"
            row = run_match(ref, tgt, matcher, args.work / "result.json")
            rows.append(row)
            print(
                f"{kind:5}{matcher:20}{row['peak_gb']:6.2f} GB{row['seconds']:8.1f} s  "
                f"{row['status']:10}error {row.get('error_px')} px {row.get('message', '')}",
                flush=True,
            )
    if args.out is not None:
        with atomic_path(args.out, overwrite=True) as path:
            path.write_text(json.dumps(record | {"runs": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
