"""Optional dependencies: names of extras and how to install what is missing."""

from __future__ import annotations

import sys
from importlib.util import find_spec

from imatch.core.errors import ConfigError

#: Module -> the extra of ours that brings it.
EXTRAS = {
    "albumentations": "train",
    "distributed": "dask",
    "faiss": "retrieval",
    "kagglehub": "fetch",
    "lancedb": "lance",
    "mlflow": "mlflow",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "pyarrow": "retrieval",
    "pystac": "stac",
    "pystac_client": "fetch",
    "pytorch_metric_learning": "retrieval",
    "rapidfuzz": "mountains",
    "rioxarray": "xarray",
    "seqeval": "mountains",
    "sklearn": "retrieval",
    "tensorboard": "train",
    "transformers": "mountains",
    "xarray": "xarray",
}


def require_extra(module: str, why: str) -> None:
    """Checks that the package of an extra is installed.

    Args:
        module: A key of `EXTRAS`.
        why: What takes it, or how to do without.

    Raises:
        ConfigError: It is not installed.
    """
    # One that is imported need not have a specification.
    there = sys.modules[module] if module in sys.modules else find_spec(module)
    if there is None:
        hint = f"run pip install 'imatch[{EXTRAS[module]}]'"
        raise ConfigError(f"is not installed ({why})", subject=module, hint=hint)


def how_to_install(error: Exception) -> str | None:
    """The command that brings the module whose lack is an error's cause; None for other errors.

    Examples:
        >>> how_to_install(ModuleNotFoundError(name="faiss.swigfaiss"))
        "run pip install 'imatch[retrieval]'"
    """
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    extra = EXTRAS.get(error.name.partition(".")[0])
    return None if extra is None else f"run pip install 'imatch[{extra}]'"
