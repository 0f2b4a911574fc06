"""Settings of trainings that take seconds."""

from __future__ import annotations

from typing import Any

_RUN: dict[str, Any] = {
    "steps": 2,
    "batch_size": 1,
    "validate_every": 2,
    "checkpoint_every": 1,
    "log_every": 1,
    "precision": "fp32",
    "device": "cpu",
    "trackers": [],
}
#: The smallest run of each trainer, as its YAML file has it.
SMALL: dict[str, dict[str, Any]] = {
    "superpoint": {
        **_RUN,
        "data": {"landscapes": 4, "size": 64},
        "model": {"start": "scratch", "descriptor_dim": 16},
        "labels": {"homographies": 0, "count": 20},
        "loss": {"points": 16},
        "validation": {"pairs": 1, "keypoints": 32},
    },
    "loftr": {
        **_RUN,
        "data": {"landscapes": 4, "size": 64, "mixture": {"landscape": 1}},
        "model": {"dims": [8, 8, 12, 16], "heads": 2, "rounds": 1, "fine_heads": 2},
        "validation": {"pairs": 1, "size": 64},
    },
    "field": {
        **_RUN,
        "data": {"size": 64, "maps": 8},
        "model": {"width": 8, "stem": 4, "maps": 2, "dilations": [1]},
        "batch_size": 2,
        "validation": {"pairs": 1},
    },
    "embedder": {
        **_RUN,
        "data": {"size": 32},
        "model": {"start": "scratch", "dim": 8},
        "batch_size": 4,
    },
}
#: A run of four steps that is saved in its middle, as overrides.
FOUR_STEPS = (
    "steps=4",
    "batch_size=2",
    "validate_every=4",
    "checkpoint_every=2",
    "log_every=1",
    "device=cpu",
    "precision=fp32",
    "trackers=[]",
)
