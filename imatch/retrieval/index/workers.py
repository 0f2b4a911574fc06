"""Embeds many images, here, in worker processes or on a Dask cluster."""

from __future__ import annotations

import threading
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, TypeAlias

import cv2

from imatch.core.cluster import DaskCluster
from imatch.core.errors import ImatchError, InputError
from imatch.core.io.offline import is_offline, offline
from imatch.core.pool import WorkerError, error_text, map_processes, worker_name
from imatch.retrieval.embedders.registry import load_embedder
from imatch.retrieval.index.embed import EmbeddedImage, embed_image
from imatch.retrieval.index.manifest import IndexManifest

if TYPE_CHECKING:
    from imatch.retrieval.embedders import Embedder

# How often an image is begun anew after its worker was killed or failed unforeseen.
_RETRIES = 1
_AGAIN = "run again, which goes on"


@dataclass(frozen=True)
class SkippedImage:
    """An image that could not be used.

    Attributes:
        path: The file.
        reason: Why.
    """

    path: str
    reason: str


EmbeddingResult: TypeAlias = EmbeddedImage | SkippedImage


@dataclass(frozen=True)
class EmbeddingWorkers:
    """Where the images of an index are embedded.

    Attributes:
        embedder: Name or file of the index's embedder, which each worker loads; its weights have to
            be on the worker's machine.
        device: Where it runs.
        jobs: Worker processes on this machine; more than one take one thread each.
        dask: Run on a Dask cluster instead: ``"local"`` for one of `jobs` processes, or the address
            of a scheduler (``"tcp://host:8786"``), whose workers see the images under the same
            paths.
    """

    embedder: str
    device: str = "cpu"
    jobs: int = 1
    dask: str | None = None

    def check(self) -> None:
        """Checks that there can be such workers.

        Raises:
            ConfigError: The address is none.
            ImatchError: Dask is not installed.
        """
        if self.dask is not None:
            DaskCluster(self.dask, self.jobs)

    def embed(
        self, files: Mapping[str, str], manifest: IndexManifest, embedder: Embedder
    ) -> Generator[EmbeddingResult, None, None]:
        """Embeds images; closing the iterator ends the workers.

        Args:
            files: Where each image is read from, by what the index calls it.
            manifest: The index's.
            embedder: The index's, for work in this process.

        Yields:
            One result an image: in their order where this process does the work, else as they come.

        Raises:
            ImatchError: No image can be embedded at all, or a local worker process was killed.
        """
        if self.dask is None and min(self.jobs, len(files)) <= 1:
            for path, file in files.items():
                yield _embed(path, file, embedder, manifest)
            return
        shared = self.jobs > 1 or self.dask is not None
        task = _EmbeddingTask(manifest, self.embedder, self.device, shared)
        if self.dask is None:
            work = partial(_embed_there, task)
            try:
                yield from map_processes(work, list(files.items()), self.jobs, hint=_AGAIN)
            except WorkerError as error:
                raise ImatchError(str(error), subject="a worker process", hint=_AGAIN) from error
            return
        cluster = DaskCluster(self.dask, self.jobs)
        items = {path: (path, file) for path, file in files.items()}
        calls = cluster.map(partial(_embed_there, task), items, retries=_RETRIES, again=_AGAIN)
        for call in calls:
            if call.result is None:
                yield SkippedImage(call.name, f"{call.cause}, in {call.attempts} attempts")
            else:
                yield call.result


@dataclass(frozen=True)
class _EmbeddingTask:
    """What every worker needs to know."""

    manifest: IndexManifest
    embedder: str
    device: str
    single_thread: bool
    offline: bool = field(default_factory=is_offline)


def _embed(path: str, file: str, embedder: Embedder, manifest: IndexManifest) -> EmbeddingResult:
    try:
        return embed_image(path, file, embedder, manifest)
    except InputError as error:
        return SkippedImage(path, error.cause)


def _embed_there(task: _EmbeddingTask, item: tuple[str, str]) -> EmbeddingResult:
    """Embed an image in a worker.

    Raises:
        ImatchError: The embedder cannot be loaded, or is not the index's.
        WorkerError: Something that nobody foresaw.
    """
    # Threads of one process take turns: they share GDAL's state and the embedder.
    with _TURN, offline(task.offline):
        if task.single_thread:
            cv2.setNumThreads(1)
        embedder = _loaded(task.embedder, task.device)
        task.manifest.check(embedder, worker_name())
        try:
            return _embed(*item, embedder, task.manifest)
        except ImatchError:
            raise
        except Exception as error:
            raise WorkerError(error_text(error)) from error


@lru_cache(maxsize=1)
def _loaded(embedder: str, device: str) -> Embedder:
    return load_embedder(embedder, device=device)


_TURN = threading.Lock()
