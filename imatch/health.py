"""The examination behind ``imatch doctor``: each check adds to a report what it saw."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from dataclasses import asdict, dataclass, field
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distributions, version
from typing import Any

from imatch._version import __version__

PACKAGES = (
    "torch",
    "kornia",
    "numpy",
    "scipy",
    "rasterio",
    "pyproj",
    "shapely",
    "geopandas",
    "pyogrio",
    "pydantic",
    "click",
    "rich",
    "matplotlib",
    "safetensors",
)
OPENCV = frozenset(
    {
        "opencv-python",
        "opencv-python-headless",
        "opencv-contrib-python",
        "opencv-contrib-python-headless",
    }
)
# Without the first three little can be read or written at all; the others are for single formats.
NEEDED_DRIVERS = ("GTiff", "PNG", "VRT")
USEFUL_DRIVERS = ("COG", "JPEG", "WEBP", "JP2OpenJPEG", "SENTINEL2")
VECTOR_DRIVERS = ("GPKG", "GeoJSON")
LOW_DISK = 1_000_000_000


@dataclass(frozen=True)
class Problem:
    """A problem of the installation.

    Attributes:
        what: The finding.
        todo: What to do about it.
        fatal: It prevents matching with the default matcher; otherwise it only limits.
    """

    what: str
    todo: str
    fatal: bool = False


@dataclass
class Report:
    """Result of an examination.

    Attributes:
        sections: Title -> what was looked at -> what was seen.
        problems: What is wrong, the fatal first.
    """

    sections: dict[str, dict[str, str]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    @property
    def prevents_matching(self) -> bool:
        """Whether any problem is fatal."""
        return any(problem.fatal for problem in self.problems)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            "ok": not self.prevents_matching,
            **{title.lower().replace(" ", "_"): rows for title, rows in self.sections.items()},
            "problems": [asdict(problem) for problem in self.problems],
        }


def examine() -> Report:
    """Look at everything that matching relies on."""
    report = Report()
    for check in (_packages, _opencv, _computing, _gdal, _cache, _weights, _plugins):
        check(report)
    report.problems.sort(key=lambda problem: not problem.fatal)
    return report


def _packages(report: Report) -> None:
    rows = report.sections["Versions"] = {
        "imatch": __version__,
        "python": f"{platform.python_version()} ({sys.executable})",
        "platform": platform.platform(),
    }
    for name in PACKAGES:
        try:
            rows[name] = version(name)
        except PackageNotFoundError:
            rows[name] = "not installed"
            report.problems.append(
                Problem(f"{name} is not installed", f"pip install {name}", fatal=True)
            )
            continue
        try:
            import_module(name)
        except Exception as error:
            # Any exception: a broken binary raises what it likes, and naming it is the task here.
            report.problems.append(
                Problem(
                    f"{name} cannot be imported ({' '.join(str(error).split())})",
                    f"pip install --force-reinstall {name}",
                    fatal=True,
                )
            )


def installed_opencv() -> list[str]:
    """The OpenCV distributions that are installed; they share one folder, so one is right."""
    names = {(dist.metadata["Name"] or "").lower().replace("_", "-") for dist in distributions()}
    return sorted(names & OPENCV)


def _opencv(report: Report) -> None:
    found = installed_opencv()
    rows = report.sections["Versions"]
    rows["opencv"] = ", ".join(f"{name} {version(name)}" for name in found) or "not installed"
    if len(found) > 1:
        report.problems.append(
            Problem(
                f"{len(found)} OpenCV distributions overwrite each other: {', '.join(found)}",
                f"pip uninstall -y {' '.join(found)} && pip install opencv-python-headless",
                fatal=True,
            )
        )
    try:
        import cv2
    except ImportError as error:
        report.problems.append(
            Problem(
                f"OpenCV cannot be imported ({error})",
                "pip install --force-reinstall opencv-python-headless",
                fatal=True,
            )
        )
    else:
        rows["cv2 (what is imported)"] = cv2.__version__


def _computing(report: Report) -> None:
    rows = report.sections["Computing"] = {"processors": str(os.cpu_count())}
    if hasattr(os, "sched_getaffinity"):
        rows["usable processors"] = str(len(os.sched_getaffinity(0)))
    try:
        import torch
    except Exception:  # `_packages` has told of it.
        return
    rows["torch threads"] = str(torch.get_num_threads())
    rows["cuda"] = (
        ", ".join(torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count()))
        if torch.cuda.is_available()
        else "no"
    )
    rows["mps"] = "yes" if torch.backends.mps.is_available() else "no"
    if os.environ.get("OMP_NUM_THREADS"):
        rows["OMP_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"]


def _gdal(report: Report) -> None:
    try:
        import pyogrio
        import pyproj
        import rasterio
    except Exception:  # `_packages` has told of it.
        return
    with rasterio.Env() as env:
        drivers = env.drivers()
    vectors = pyogrio.list_drivers()
    rows = report.sections["Geodata"] = {
        "GDAL (rasterio's)": rasterio.__gdal_version__,
        "GDAL (pyogrio's)": ".".join(map(str, pyogrio.__gdal_version__)),
        "PROJ (pyproj's)": pyproj.proj_version_str,
        "PROJ data": pyproj.datadir.get_data_dir(),
    }
    for name in (*NEEDED_DRIVERS, *USEFUL_DRIVERS):
        rows[f"driver {name}"] = "yes" if name in drivers else "no"
        if name not in drivers:
            report.problems.append(
                Problem(
                    f"this GDAL reads no {name}",
                    "pip install --force-reinstall --only-binary :all: rasterio",
                    fatal=name in NEEDED_DRIVERS,
                )
            )
    for name in VECTOR_DRIVERS:
        writes = "w" in vectors.get(name, "")
        rows[f"driver {name}"] = "yes" if writes else "no"
        if not writes:
            report.problems.append(
                Problem(
                    f"this GDAL writes no {name}",
                    "pip install --force-reinstall --only-binary :all: pyogrio",
                )
            )
    try:
        pyproj.CRS.from_epsg(32631)
    except Exception as error:
        report.problems.append(
            Problem(
                f"PROJ does not find its data ({error})", "unset PROJ_LIB and PROJ_DATA", fatal=True
            )
        )


def _cache(report: Report) -> None:
    from imatch.models.weights import cache_dir

    folder = cache_dir()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    report.sections["Cache"] = {
        "folder": str(folder),
        "exists": "yes" if folder.is_dir() else "not yet",
        "free disk": f"{free / 1e9:.1f} GB",
        "$IMATCH_WEIGHTS": os.environ.get("IMATCH_WEIGHTS", "not set"),
    }
    if not os.access(there, os.W_OK):
        report.problems.append(
            Problem(f"{there} is not writable", "set XDG_CACHE_HOME to a writable folder")
        )
    if free < LOW_DISK:
        report.problems.append(
            Problem(f"{free / 1e9:.1f} GB of disk are free", f"make room beside {there}")
        )


def _plugins(report: Report) -> None:
    from imatch.matchers import MATCHERS
    from imatch.retrieval.embedders.registry import EMBEDDERS
    from imatch.training.registry import TRAINERS

    for table in (MATCHERS, EMBEDDERS, TRAINERS):
        for name, cause in table.broken().items():
            what = f"the {table.kind} plug-in {name} gives nothing ({cause})"
            report.problems.append(Problem(what, "mend or uninstall the package it comes with"))


def _weights(report: Report) -> None:
    from imatch.matchers import MATCHERS
    from imatch.models.weights import CORRUPT, MISSING, WEIGHTS, weight_row
    from imatch.pipeline.pair.config import MatchConfig

    needed = MATCHERS[MatchConfig().matcher].weights
    rows = report.sections["Weights"] = {}
    for spec in WEIGHTS.values():
        row = weight_row(spec)
        rows[spec.name] = row["path"] or row["state"]
        if row["state"] == CORRUPT:
            report.problems.append(
                Problem(
                    row["problem"], f"imatch weights fetch {spec.name}", fatal=spec.name in needed
                )
            )
        elif row["state"] == MISSING and spec.name in needed:
            # They come with imatch.
            what = f"the weights {spec.name} of the default matcher are missing"
            report.problems.append(Problem(what, "install imatch again", fatal=True))
