"""Find where an image was taken: look it up in an index, verify the hits, write the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from imatch.core.errors import ConfigError
from imatch.core.progress import Progress, no_progress
from imatch.export.formats import WriteLog, check_outputs
from imatch.export.formats import write as write_registration
from imatch.pipeline.pair.config import MatchConfig, make_config
from imatch.raster import open_source
from imatch.retrieval.embedders.registry import load_embedder
from imatch.retrieval.formats import check_result_files, write_result
from imatch.retrieval.index.manifest import read_manifest
from imatch.retrieval.results import SearchResult
from imatch.retrieval.search import Finder
from imatch.retrieval.verify import verify as verify_hits


def locate_image(
    index: Path,
    query: str,
    k: int = 10,
    *,
    verify: bool = False,
    config: MatchConfig | None = None,
    outputs: Sequence[Path] = (),
    registration: Path | None = None,
    probes: int | None = None,
    stand_out: bool = False,
    embedder: str | None = None,
    device: str = "cpu",
    fetch: bool = False,
    bands: Sequence[int | str] | None = None,
    overwrite: bool = False,
    progress: Progress = no_progress,
) -> tuple[SearchResult, WriteLog]:
    """Find where an image lies among the images of an index.

    Args:
        index: The folder of the index.
        query: The image, a path or a URL.
        k: Hits to give.
        verify: Match the query with each hit and rank by what the matcher certifies.
        config: Settings of the match; nodata and mask of the target are the query's.
        outputs: Files for the hits, the format from the suffix (see `formats`).
        registration: File for the best hit's registration, with `verify`.
        probes: See `Searcher`.
        stand_out: See `Finder.search`.
        embedder: Name or file of the index's embedder; where the index has it from when None.
        device: Where it runs.
        fetch: Download its weights where they are missing.
        bands: Bands of the query; those of `config`, else of the index when None.
        overwrite: Replace files that exist.
        progress: Shows how many hits are verified.

    Returns:
        The hits, best first, and what became of the files.

    Raises:
        ConfigError: A suffix tells no format, or the arguments contradict each other.
        OutputError: A file exists, or is the query.
        ImatchError: As `load_embedder`, `Finder` and `verify_hits`.
    """
    if registration is not None and not verify:
        raise ConfigError("a registration comes of verifying the hits", subject=registration)
    check_result_files(outputs, overwrite=overwrite)
    if registration is not None:
        check_outputs([registration], overwrite=overwrite, inputs=[Path(query)])
    manifest = read_manifest(index)
    config = config or MatchConfig()
    wanted = None if bands is None else tuple(bands)
    wanted = wanted or config.tgt_bands or manifest.band_list
    # The query is the target of what is matched when hits are verified.
    source = open_source(
        query, bands=wanted, nodata=config.tgt_nodata, mask=config.tgt_mask, dem=config.dem
    )
    name = manifest.model.source if embedder is None else embedder
    loaded = load_embedder(name, device=device, fetch=fetch)
    hits = Finder(index, loaded, probes=probes).search(source, k, stand_out=stand_out)
    if verify:
        config = make_config(config, tgt_bands=wanted)
        with progress("verifying", len(hits)) as advance:
            hits = verify_hits(source, hits, config, bands=manifest.band_list, on_hit=advance)
    result, log = SearchResult(query, index, manifest, hits), WriteLog()
    for path in outputs:
        with log.attempt(path):
            write_result(result, source, path, overwrite=overwrite)
    if registration is not None:
        if result.registration is None:
            log.refused(registration, "no hit was registered")
        else:
            with log.attempt(registration):
                write_registration(result.registration, registration, overwrite=overwrite)
    return result, log
