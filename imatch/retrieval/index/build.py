"""Builds and updates an index."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Any

from imatch.core.errors import ConfigError, InputError
from imatch.core.progress import ProgressOption, ProgressStages
from imatch.core.redaction import get_logger, redacted
from imatch.pipeline.batch.folders import list_images
from imatch.raster.names import is_virtual
from imatch.raster.stac.documents import item_names
from imatch.retrieval.embedders.registry import EMBEDDERS, load_embedder
from imatch.retrieval.index.manifest import IndexManifest, ModelFacts, Structure, new_manifest
from imatch.retrieval.index.stores import manifest_of, open_to_write
from imatch.retrieval.index.vector_index import require_faiss
from imatch.retrieval.index.workers import EmbeddingWorkers, SkippedImage

if TYPE_CHECKING:
    from imatch.retrieval.embedders import Embedder

_LOG = get_logger(__name__)
Tell = Callable[[float], None]


@dataclass
class Growth:
    """Result of adding images.

    Attributes:
        added: Images new in the index.
        replaced: Images whose file had changed.
        unchanged: Images that were there already.
        chips: Chips embedded.
        skipped: Images that could not be used.
        images: Images in the index now.
        rows: Chips in the index now.
    """

    added: int = 0
    replaced: int = 0
    unchanged: int = 0
    chips: int = 0
    skipped: list[SkippedImage] = field(default_factory=list)
    images: int = 0
    rows: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "added": self.added,
            "replaced": self.replaced,
            "unchanged": self.unchanged,
            "skipped": [asdict(item) for item in self.skipped],
            "images": self.images,
            "chips": self.rows,
        }


def build_index(
    images: str | PathLike[str] | Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    embedder: str | PathLike[str] | None = None,
    device: str = "cpu",
    fetch: bool = False,
    bands: Sequence[int | str] | None = None,
    stride: float | None = None,
    gsd_m: float | None = None,
    levels: int | None = None,
    min_valid: float | None = None,
    structure: Structure | None = None,
    jobs: int = 1,
    dask: str | None = None,
    progress: ProgressOption = None,
) -> Growth:
    """Cut images into chips and keep what they look like in an index, made where there is none.

    Called again it adds what is missing: images that are there are left, those whose file changed
    are done again, and what an interrupted call left undone is done. What is None is as the index
    has it, or for a new one the default.

    Args:
        images: Files, folders of files, STAC items and collections.
        out: Folder of the index, or path or URL of a LanceDB database, which ends in ``.lance``.
        embedder: Name or file of the embedder, see `imatch.load_embedder`.
        device: Where it runs.
        fetch: Download its weights where they are missing.
        bands: Bands to look at.
        stride: From one chip to the next, as a share of a chip; 0.5 by default.
        gsd_m: Metres a pixel of a chip; by default as each image has them.
        levels: Sizes of chips, each twice the one before; 1 by default.
        min_valid: Least share of valid ground in a chip; 0.5 by default.
        structure: How to search: every vector (``flat``), or for millions the nearest cells
            (``ivf``), compressed (``ivfpq``).
        jobs: Worker processes; more than one take one thread each, and are begun by a script below
            ``if __name__ == "__main__":``.
        dask: Embed on a Dask cluster instead: ``local`` for one of `jobs` processes, or the address
            of a scheduler (``tcp://host:8786``), whose workers see the images, and have the
            embedder's weights, under the same paths.
        progress: True shows how many images are done on a terminal's stderr; a callback is told.

    Returns:
        What was done.

    Raises:
        InputError: A folder holds no images, no image could be used at all, or the index is of
            another embedder.
        ConfigError: An option makes no sense, or the index was made with another.
        OutputError: The index cannot be written to.
        ImatchError: The embedder cannot be loaded, LanceDB or Dask is not installed, or the cluster
            cannot be reached.

    Examples:
        >>> import cv2, imatch, numpy as np
        >>> folder = getfixture("tmp_path")
        >>> ground = cv2.resize(np.random.default_rng(0).random((40, 40)), (320, 320)) * 255
        >>> for name, left in (("a.png", 0), ("b.png", 20)):
        ...     _ = cv2.imwrite(str(folder / name), ground[:, left : left + 280])
        >>> grown = imatch.build_index(folder, folder / "index", embedder="edges")
        >>> grown.images, grown.skipped
        (2, [])
    """
    given = {
        "stride": stride,
        "gsd_m": gsd_m,
        "levels": levels,
        "min_valid": min_valid,
        "band_list": None if bands is None else tuple(bands),
        "structure": structure,
    }
    settings = {name: value for name, value in given.items() if value is not None}
    kept = manifest_of(out)
    if kept is not None:
        settings = {name: getattr(kept, name) for name in given} | settings
    source = embedder if embedder is not None or kept is None else kept.model.source
    loaded = load_embedder(source, device=device, fetch=fetch)
    facts = ModelFacts.of(loaded, None if embedder is None else fspath(embedder))
    manifest = new_manifest(facts, settings)
    with ProgressStages(progress) as stages:
        return add_images(
            out,
            [images] if isinstance(images, str | PathLike) else images,
            loaded,
            manifest,
            EmbeddingWorkers(_absolute_file(facts.source), device, jobs, dask),
            on_start=lambda count: stages.begin("embedding", count),
            on_image=stages.advance,
        )


def find_images(paths: Iterable[str | PathLike[str]]) -> list[str]:
    """Files as they are, the images of folders and the items of collections, absolute, each once.

    Raises:
        InputError: A folder holds no images.
    """
    found: list[str] = []
    for given in paths:
        items = item_names(given)
        if items is not None:
            found += items
            continue
        path = Path(given)
        folder = path.is_dir() and path.suffix.upper() != ".SAFE"
        found += map(_absolute, list_images(path)) if folder else [_absolute(given)]
    return list(dict.fromkeys(found))


def image_key(path: str | PathLike[str]) -> str:
    """Returns the name of an image in an index: its absolute path, or its URL `redacted`."""
    name = _absolute(path)
    return redacted(name) if is_virtual(name) else name


def _absolute(path: str | PathLike[str]) -> str:
    return fspath(path) if is_virtual(path) else str(Path(path).resolve())


def _absolute_file(embedder: str) -> str:
    """Returns an embedder as workers with another current folder find it."""
    return embedder if embedder in EMBEDDERS else str(Path(embedder).expanduser().resolve())


def _keyed(files: Sequence[str], skipped: list[SkippedImage]) -> dict[str, str]:
    """Returns files by the names they have in an index."""
    found: dict[str, str] = {}
    for file in files:
        if found.setdefault(image_key(file), file) != file:
            cause = "differs from another image by its query alone, which no index keeps"
            skipped.append(SkippedImage(image_key(file), cause))
    return found


def add_images(
    index: str | PathLike[str],
    images: Sequence[str | PathLike[str]],
    embedder: Embedder,
    manifest: IndexManifest,
    workers: EmbeddingWorkers | None = None,
    *,
    on_start: Callable[[int], None] = lambda _images: None,
    on_image: Tell = lambda _images: None,
) -> Growth:
    """Embed the chips of images and keep them in an index, which is made where there is none.

    After each image the index is whole: interrupted, the same call goes on with the images that
    are missing. Images whose file is as it was are left as they are; changed ones are embedded
    anew. What cannot be read is skipped and listed.

    Args:
        index: Folder, or path or URL of a database.
        images: Files and folders of files.
        embedder: Loaded as the manifest says.
        manifest: What a new index is made with; of an existing one the settings have to be equal.
        workers: Where images are embedded; in this process when None.
        on_start: Told how many images are to be embedded.
        on_image: Told of each image that is done.

    Returns:
        What was done.

    Raises:
        InputError: A folder holds no images, no image could be used at all, or the index is of
            another model.
        ConfigError: The index was made with other settings.
        OutputError: The index cannot be written to.
        ImatchError: Workers cannot be had.
    """
    require_faiss()
    workers = workers or EmbeddingWorkers(manifest.model.source)
    workers.check()
    growth = Growth()
    wanted = _keyed(find_images(images), growth.skipped)
    with open_to_write(index, manifest) as store:
        store.manifest.check(embedder, store.name)
        _check_settings(store.manifest, manifest, store.name)
        changed = [
            path
            for path, file in wanted.items()
            if path in store.images and not store.images[path].unchanged(file)
        ]
        if changed:
            store.remove(changed)
        missing = [path for path in wanted if path not in store.images]
        growth.unchanged = len(wanted) - len(missing)
        on_start(len(missing))
        files = {path: wanted[path] for path in missing}
        with closing(workers.embed(files, store.manifest, embedder)) as results:
            for done in results:
                if isinstance(done, SkippedImage):
                    growth.skipped.append(done)
                    _LOG.info("skipped %s: %s", done.path, done.reason)
                else:
                    path = done.image.path
                    if done.misplaced is not None:
                        _LOG.warning("%s: is indexed without a place: %s", path, done.misplaced)
                    store.append(done.image, done.vectors, done.windows)
                    growth.chips += done.image.count
                    if path in changed:
                        growth.replaced += 1
                    else:
                        growth.added += 1
                on_image(1)
        growth.images, growth.rows = len(store.images), len(store)
        if not growth.rows:
            raise InputError(
                f"no image could be used; of {len(growth.skipped)} the first:"
                f" {growth.skipped[0].reason}",
                subject=growth.skipped[0].path,
                hint="name rasters with ground on them",
            )
        store.refresh()
    return growth


def remove_images(
    index: str | PathLike[str], images: Sequence[str | PathLike[str]]
) -> tuple[int, int]:
    """Remove images from an index.

    Args:
        index: Folder, or path or URL of a database.
        images: Files as they were named, or folders: all of the index's images in them.

    Returns:
        How many images and how many chips went.

    Raises:
        InputError: One of them is not in the index.
        OutputError: The index is in use or cannot be written to.
    """
    require_faiss()
    with open_to_write(index) as store:
        gone: list[str] = []
        for given in images:
            key = image_key(given)
            inside = [
                path for path in store.images if path == key or Path(key) in Path(path).parents
            ]
            if not inside:
                raise InputError("is not in the index", subject=key, hint=f"see {store.name}")
            gone += inside
        gone = list(dict.fromkeys(gone))
        rows = store.remove(gone, refresh=True)
    return len(gone), rows


def _check_settings(kept: IndexManifest, wanted: IndexManifest, index: str) -> None:
    for name, now in wanted.settings.items():
        before = kept.settings[name]
        if before != now:
            raise ConfigError(
                f"was made with {name.replace('_', ' ')} {before}, not {now}",
                subject=index,
                hint="repeat the options it was made with, or make another index",
            )
