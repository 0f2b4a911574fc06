"""The one door to `pytorch_metric_learning`, which is an extra."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from imatch.core.errors import ConfigError


def learning(module: str) -> Any:
    """A module of pytorch-metric-learning.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        return import_module(f"pytorch_metric_learning.{module}")
    except ImportError as error:
        raise ConfigError(
            "is not installed",
            subject="pytorch-metric-learning",
            hint="run pip install 'imatch[retrieval]'",
        ) from error
