"""What matchers need of checkpoints: whether it is on this machine, and fetching it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from imatch.core.errors import WeightsError
from imatch.core.io.files import remove_leftovers
from imatch.matchers.registry import MATCHERS
from imatch.models.weights import (
    CORRUPT,
    MISSING,
    PRESENT,
    WEIGHTS,
    cache_dir,
    ensure_weights,
    spec_of,
    weight_row,
)


def list_matchers() -> list[dict[str, Any]]:
    """The matchers, and of each the worst state that any of its weights is in.

    Returns:
        A row a matcher: ``name``, ``kind``, ``weights`` (name to state), ``state`` (``present``,
        ``missing`` or ``corrupt``), ``licence`` and ``summary``.

    Examples:
        >>> [row["name"] for row in list_matchers() if not row["weights"]]
        ['sift', 'phase']
    """
    rows = []
    for name in MATCHERS:
        row = MATCHERS[name]
        states = {weight: weight_row(spec_of(weight))["state"] for weight in row.weights}
        worst = next((state for state in (CORRUPT, MISSING) if state in states.values()), PRESENT)
        rows.append(
            {
                "name": row.name,
                "kind": row.kind,
                "weights": states,
                "state": worst,
                "licence": row.licence,
                "summary": row.summary,
            }
        )
    return rows


def list_weights() -> list[dict[str, Any]]:
    """All checkpoints, where each lies on this machine, its size, licence and source.

    Examples:
        >>> sorted(row["name"] for row in list_weights())[:2]
        ['aliked-lightglue', 'aliked-n16']
    """
    return [weight_row(spec) for spec in WEIGHTS.values()]


def fetch_all(
    names: Sequence[str] = (),
    *,
    matchers: Sequence[str] = (),
    all_default: bool = False,
    overwrite: bool = False,
    on_file: Callable[[str], None] = lambda _told: None,
) -> None:
    """Download checkpoints into the cache and verify them; what is there is left as it is.

    One that cannot be had does not cost the others.

    Args:
        names: Checkpoints, keys of `imatch.models.weights.WEIGHTS`.
        matchers: Matchers, all of whose checkpoints are wanted.
        all_default: Fetch all whose licence lets us fetch them for anybody.
        overwrite: Fetch again what is already in the cache.
        on_file: Told of each checkpoint where it is.

    Raises:
        WeightsError: There is no such checkpoint, or one could not be had.
        MatcherError: There is no such matcher.
    """
    wanted = [spec_of(name).name for name in names]
    wanted += [name for matcher in matchers for name in MATCHERS[matcher].weights]
    if all_default:
        wanted += [spec.name for spec in WEIGHTS.values() if spec.default]
    remove_leftovers(cache_dir())
    failure = None
    for name in dict.fromkeys(wanted):
        try:
            on_file(ensure_weights(name, overwrite=overwrite))
        except WeightsError as error:
            failure = failure or error  # One server that is down does not cost the others.
    if failure is not None:
        raise failure
