"""Data sets that Kaggle hosts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from imatch.core.errors import ConfigError, InputError
from imatch.core.io.files import atomic_path
from imatch.core.io.offline import check_online


@dataclass(frozen=True)
class KaggleSet:
    """A data set on Kaggle.

    Attributes:
        handle: ``owner/name`` there.
        expected: Patterns of files that must have come.
        card: What to write beside it: whom to name, what it is.
    """

    handle: str
    expected: tuple[str, ...]
    card: str


KAGGLE = {
    "kaggle-deforestation": KaggleSet(
        "isaienkov/deforestation-in-ukraine",
        ("**/*_TCI.jp2", "**/deforestation_labels.geojson"),
        "# Deforestation in Ukraine\n\n"
        "From https://www.kaggle.com/datasets/isaienkov/deforestation-in-ukraine: Sentinel-2 L1C\n"
        "images of the tiles T36UXA and T36UYA, and polygons of clearings (EPSG:4326) with the\n"
        "date of the image on which each was first seen. See that page for its licence.\n\n"
        "Contains modified Copernicus Sentinel data (2016 to 2019).\n",
    )
}


def fetch_kaggle(name: str, out: Path, *, overwrite: bool = False) -> list[Path]:
    """Fetches a data set from Kaggle.

    What is there is not fetched again, and a transfer that broke off goes on (`kagglehub` sees to
    both). Credentials are `kagglehub`'s own business; public sets need none.

    Args:
        name: A row of `KAGGLE`.
        out: Folder to write.
        overwrite: Fetch again what is there.

    Returns:
        The images.

    Raises:
        ConfigError: `kagglehub` is not installed, or there is no such set.
        InputError: Kaggle refuses, cannot be reached, or sends something else.
    """
    if name not in KAGGLE:
        raise ConfigError("unknown data set", subject=name, hint=f"there is {', '.join(KAGGLE)}")
    check_online(f"fetch {name}")
    wanted = KAGGLE[name]
    try:
        import kagglehub
    except ImportError as error:
        raise ConfigError(
            "needs kagglehub", subject=f"fetch {name}", hint="run pip install 'imatch[fetch]'"
        ) from error
    out.mkdir(parents=True, exist_ok=True)
    try:
        kagglehub.dataset_download(wanted.handle, output_dir=str(out), force_download=overwrite)
    except KeyboardInterrupt:
        raise
    except Exception as error:  # Its own, requests' and Kaggle's API's kinds have no common base.
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"cannot be fetched from Kaggle ({detail})",
            subject=wanted.handle,
            hint="check the connection, or download it by hand into the folder",
        ) from error
    for pattern in wanted.expected:
        if not any(out.glob(pattern)):
            raise InputError(
                f"came without any {pattern.removeprefix('**/')}",
                subject=out,
                hint="pass --overwrite to fetch it again",
            )
    with atomic_path(out / "README.md", overwrite=True) as temporary:
        temporary.write_text(wanted.card, encoding="utf-8")
    return sorted(out.glob(wanted.expected[0]))
