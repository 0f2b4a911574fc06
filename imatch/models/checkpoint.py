"""Loads a verified checkpoint into a network, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from imatch.core.arrays import check_archive
from imatch.core.errors import WeightsError
from imatch.models.store import WeightsFile

if TYPE_CHECKING:
    from torch import Tensor, nn

# Trainers nest the parameters under a name of their own: Lightning, DISK, ours.
_NESTS = ("state_dict", "extractor", "model", "model_state_dict")


def load_state(found: WeightsFile) -> dict[str, Tensor]:
    """Read a checkpoint's tensors onto the CPU; no code in the file is run.

    Args:
        found: A verified file, PyTorch's format or ``.safetensors``.

    Returns:
        Parameter name to tensor, taken out of its nest where the trainer made one.

    Raises:
        WeightsError: The file cannot be read, or holds something else than tensors.
    """
    import torch

    damage = check_archive(found.path)
    if damage is not None:
        raise WeightsError(f"is damaged: {damage}", subject=found.path, hint="get it again")
    try:
        if found.path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(found.path)
        else:
            state = torch.load(found.path, map_location="cpu", weights_only=True)
    # Unpickling, zip and safetensors errors share no base class.
    except Exception as error:
        first_line = str(error).strip().partition("\n")[0]
        raise WeightsError(f"cannot be read: {first_line}", subject=found.path) from error
    for nest in _NESTS:
        if isinstance(state, Mapping) and isinstance(state.get(nest), Mapping):
            state = state[nest]
    if not isinstance(state, Mapping) or not all(torch.is_tensor(v) for v in state.values()):
        raise WeightsError("holds no parameters", subject=found.path)
    return dict(state)


def load_parameters(
    model: nn.Module,
    state: Mapping[str, Tensor],
    found: WeightsFile,
    *,
    derived: tuple[str, ...] = (),
    ignore: tuple[str, ...] = (),
) -> None:
    """Fill a network, insisting that every learned number is in the checkpoint and used.

    Args:
        model: The network; it is put into evaluation mode.
        state: Parameter name to tensor.
        found: Where the tensors come from, for the message.
        derived: Buffers that the network computes itself and old checkpoints lack.
        ignore: Prefixes of entries in the checkpoint that belong to something else.

    Raises:
        WeightsError: A parameter is missing, superfluous or of another shape.
    """
    kept = {name: value for name, value in state.items() if not name.startswith(ignore or ("\0",))}
    hint = f"is it really {found.spec.name!r} ({found.spec.note})?"
    try:
        outcome = model.load_state_dict(kept, strict=False)
    except RuntimeError as error:
        detail = str(error).strip().splitlines()[-1].strip()
        raise WeightsError(
            f"is of another architecture: {detail}", subject=found.path, hint=hint
        ) from error
    missing = [name for name in outcome.missing_keys if name not in derived]
    for what, names in (("lacks", missing), ("has no place for", outcome.unexpected_keys)):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            subject = "the file" if what == "lacks" else "the network"
            raise WeightsError(
                f"is of another architecture: {subject} {what} {names[0]}{more}",
                subject=found.path,
                hint=hint,
            )
    model.eval()
