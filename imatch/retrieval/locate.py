"""Find where an image was taken: open an index, look the image up, verify the hits."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike, fspath
from typing import Unpack

from imatch.core.errors import ConfigError
from imatch.core.progress import ProgressOption, shown
from imatch.core.settings import check_options
from imatch.pipeline.pair.config import MatchConfig, MatchOptions, make_config
from imatch.pipeline.pair.match import Image, open_image
from imatch.retrieval.embedders.registry import load_embedder
from imatch.retrieval.index.stores import open_store
from imatch.retrieval.results import SearchResult
from imatch.retrieval.search import Index, best_of_images
from imatch.retrieval.verify import verify as verify_hits


def open_index(
    path: str | PathLike[str],
    *,
    embedder: str | PathLike[str] | None = None,
    device: str = "cpu",
    fetch: bool = False,
    probes: int | None = None,
) -> Index:
    """Open an index with its embedder, to search it more than once.

    Args:
        path: Folder of the index (`imatch.build_index`), or path or URL of its database.
        embedder: Name or file of the index's embedder; where the index has it from when None.
        device: Where it runs.
        fetch: Download its weights where they are missing.
        probes: Cells to look into, where the index has a structure; one in 6 when None.

    Returns:
        The index, for `imatch.search`.

    Raises:
        InputError: It is no index, is damaged, or was made with another embedder.
        ImatchError: The embedder cannot be loaded.

    Examples:
        >>> import cv2, imatch, numpy as np
        >>> folder = getfixture("tmp_path")
        >>> ground = cv2.resize(np.random.default_rng(0).random((40, 40)), (320, 320)) * 255
        >>> for name, left in (("a.png", 0), ("b.png", 20)):
        ...     _ = cv2.imwrite(str(folder / name), ground[:, left : left + 280])
        >>> _ = imatch.build_index(folder, folder / "index", embedder="edges")
        >>> index = imatch.open_index(folder / "index")
        >>> imatch.search(index, ground[:, 20:300], 1).hits[0].image.path.endswith("b.png")
        True
    """
    store = open_store(path)
    name = store.manifest.model.source if embedder is None else embedder
    return Index(store, load_embedder(name, device=device, fetch=fetch), probes=probes)


def search(
    index: str | PathLike[str] | Index,
    query: Image,
    k: int = 10,
    *,
    verify: bool = False,
    config: MatchConfig | None = None,
    probes: int | None = None,
    stand_out: bool = False,
    chips: bool = False,
    embedder: str | PathLike[str] | None = None,
    bands: Sequence[int | str] | None = None,
    progress: ProgressOption = None,
    **options: Unpack[MatchOptions],
) -> SearchResult:
    """Find where an image lies among the images of an index.

    Args:
        index: Folder of the index, path or URL of its database, or one that is open
            (`imatch.open_index`).
        query: The image: a path or URL, an array, a DataArray or a `Source`.
        k: Hits to give, at most.
        verify: Match the query with each hit and rank by what the matcher certifies.
        config: Settings of the match; bands, nodata and mask of the target are the query's.
        probes: Cells to look into, where the index has a structure; one in 6 when None.
        stand_out: Rank by how far a chip stands out among those of its own image: for few large
            images at several dates.
        chips: Give several places of one image, too; else of each image the best. With `verify`
            the `k` best chips are matched, and of each image the best certified is given.
        embedder: Name or file of the index's embedder; where the index has it from when None.
        bands: Bands of the query; those of the settings, else of the index when None.
        progress: True shows how many hits are verified on a terminal's stderr; a callback is told.
        **options: Fields of `MatchConfig` to replace. ``device`` and ``fetch`` also hold for the
            embedder of an index that is opened here.

    Returns:
        The hits, best first; `SearchResult.save` writes them, and its `registration` says how the
        query lies on the best.

    Raises:
        ConfigError: An option does not exist, or the arguments contradict each other.
        InputError: The index or the query cannot be used.
        ImatchError: The matcher or the embedder cannot be loaded.

    Examples:
        >>> import cv2, imatch, numpy as np
        >>> folder = getfixture("tmp_path")
        >>> ground = cv2.resize(np.random.default_rng(0).random((40, 40)), (320, 320)) * 255
        >>> for name, left in (("a.png", 0), ("b.png", 20)):
        ...     _ = cv2.imwrite(str(folder / name), ground[:, left : left + 280])
        >>> _ = imatch.build_index(folder, folder / "index", embedder="edges")
        >>> found = imatch.search(
        ...     folder / "index", folder / "b.png", 2, verify=True, matcher="sift"
        ... )
        >>> [hit.verification.status for hit in found.hits]
        ['ok']
        >>> found.save(folder / "hits.geojson")
    """
    check_options(options, MatchConfig, search)
    settings = make_config(config, **options)
    if isinstance(index, Index):
        if probes is not None or embedder is not None:
            raise ConfigError("is open already", subject=index.store.name, hint="open it with that")
    else:
        index = open_index(
            index, embedder=embedder, device=settings.device, fetch=settings.fetch, probes=probes
        )
    manifest = index.store.manifest
    wanted = None if bands is None else tuple(bands)
    wanted = wanted or settings.tgt_bands or manifest.band_list
    # The query is the target of what is matched when hits are verified.
    settings = make_config(settings, tgt_bands=wanted)
    source = open_image(query, "tgt", settings)
    # Of the chips of an image that are alike matching tells which is right.
    hits = index.search(source, k, stand_out=stand_out, chips=chips or verify)
    if verify:
        with shown(progress)("verifying", len(hits)) as advance:
            hits = verify_hits(source, hits, settings, bands=manifest.band_list, on_hit=advance)
        hits = hits if chips else best_of_images(hits)
    name = fspath(query) if isinstance(query, str | PathLike) else source.info.name
    return SearchResult(name, index.store.name, manifest, hits, source)
