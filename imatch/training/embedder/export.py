"""Export of a trained embedder, as `imatch.retrieval.embedders.load_embedder` takes it."""

from __future__ import annotations

from pathlib import Path

from imatch.models.embedding.network import Architecture, EmbeddingNetwork, save_network
from imatch.training.checkpoint import Checkpoint
from imatch.training.export import Exporter

_KEPT = ("licence", "start", "data", "classes", "figures", "step")


def _save(checkpoint: Checkpoint, path: Path) -> None:
    about = checkpoint.about
    network = EmbeddingNetwork(Architecture(**about["architecture"]))
    network.load_state_dict(dict(checkpoint.average))
    # In half precision: the vectors differ by less than what neighbours are apart.
    metadata = {name: about.get(name) for name in _KEPT} | {"step": checkpoint.step}
    save_network(network.half(), path, metadata, overwrite=True)


def _rows(checkpoint: Checkpoint) -> dict[str, str | None]:
    about = checkpoint.about
    config, shape = about["config"], about["architecture"]
    seen = f"{shape['bands']} band(s) in [0, 1], each stretched to its own 1 to 99 % range"
    if shape["classes"]:
        seen += f", and {shape['classes']} classes ({', '.join(map(str, about['classes']))})"
    length = EmbeddingNetwork(Architecture(**shape)).dim
    return {
        "network": f"{shape['backbone']}, {shape['pool']} pooling",
        "input": f"{seen}; chips of {shape['chip_px']} px",
        "embedding": f"{length} numbers{', of unit length' if shape['normalise'] else ''}",
        "loss": f"{config['loss']['kind']}, mined {config['mining']['kind']}",
        "sampler": config["sampler"]["kind"],
        "steps": f"{checkpoint.step}, batch size {config['batch_size']}",
        "training chips": f"{about['data']['train']} of {about['data']['places']} places",
        # How many chips a step has is the sampler's choice.
        "time": None,
        "views": None,
        "training pairs": None,
    }


export = Exporter(
    what=("An embedder trained by imatch: chips of one place lie near each other in any season.",),
    rows=_rows,
    save=_save,
    unit="chips",
)
