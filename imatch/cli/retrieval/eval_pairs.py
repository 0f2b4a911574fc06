"""``imatch eval pairs``: how good decisions about pairs are, and learning them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.logs import Verb, is_quiet, note
from imatch.cli.options.common import (
    format_option,
    overwrite_option,
    settings_option,
    verbosity_options,
)
from imatch.cli.options.embedder import chosen_embedder, embedder_options
from imatch.cli.options.values import complete_matcher, known_matcher

if TYPE_CHECKING:
    from imatch.retrieval.decision import Decision, Task
    from imatch.retrieval.embedders import Embedder
    from imatch.retrieval.evaluate.score_pairs import ScoredPairs
    from imatch.retrieval.pair_metrics import PairFigures


@click.command(cls=Verb)
@click.argument("table", metavar="PAIRS.csv", type=click.Path(path_type=Path))
@click.option(
    "--task",
    type=click.Choice(["same", "duplicates"]),
    default="same",
    show_default=True,
    help="Whether pairs show the same ground, or are one picture.",
)
@click.option(
    "--fit",
    "store",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Learn the decision from these pairs by cross-validation over their groups and store it;"
    " for a file MODEL.safetensors that is MODEL.decisions.json beside it.",
)
@click.option(
    "--decision",
    "stored",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Judge this stored decision.  [default: the embedder's]",
)
@click.option(
    "--threshold",
    type=float,
    metavar="VALUE",
    help="Of given scores: from which the answer is yes.  [default: that of the best F1]",
)
@click.option(
    "--least-precision",
    type=click.FloatRange(0, 1),
    default=0.0,
    metavar="SHARE",
    help="With --fit: what the threshold has to reach.",
)
@click.option(
    "--no-embedder", is_flag=True, help="Decide by the match alone; nothing is fetched for it."
)
@click.option(
    "-m",
    "--matcher",
    metavar="NAME",
    callback=known_matcher,
    shell_complete=complete_matcher,
    help="Which matcher; see imatch matchers.  [default: auto]",
)
@settings_option
@click.option(
    "-o",
    "--output",
    "out",
    type=click.Path(path_type=Path),
    metavar="FILE.json",
    help="Where the figures with their curves go.",
)
@embedder_options
@overwrite_option
@format_option
@verbosity_options
def pairs(
    table: Path,
    *,
    task: Task,
    store: Path | None,
    stored: Path | None,
    threshold: float | None,
    least_precision: float,
    no_embedder: bool,
    matcher: str | None,
    settings: tuple[str, ...],
    out: Path | None,
    embedder: str | None,
    device: str,
    offline: bool,
    overwrite: bool,
    fmt: str,
) -> None:
    """Measure yes-or-no answers about the pairs of a CSV: F1, precision, recall, calibration.

    The CSV has columns a, b (files, from its folder) and label (1 or 0), and may have group (pairs
    of one group are held out together). With a column score instead of files, those scores are
    measured.

    \b
    imatch eval pairs pairs.csv --task duplicates
    imatch eval pairs train.csv -e model.safetensors --fit model.decisions.json
    imatch eval pairs scores.csv --threshold 0.5 -o figures.json
    """  # noqa: D301 - click wants the backspace itself.
    from imatch.core.errors import ConfigError, InputError
    from imatch.core.io.files import atomic_path, check_output
    from imatch.core.io.jsontext import to_json
    from imatch.retrieval.evaluate.pair_table import read_pairs

    for path in (out, store):
        if path is not None:
            check_output(path, overwrite=overwrite)
    known = read_pairs(table)
    unlabelled = sum(pair.label is None for pair in known)
    if unlabelled:
        raise InputError(
            f"{unlabelled} of {len(known)} pairs have no label",
            subject=table,
            hint="write 1 or 0 into the column label",
        )
    document: dict[str, Any]
    if all(pair.score is not None for pair in known):
        if store is not None:
            raise ConfigError("needs images, not scores", subject="--fit", hint="name them in a, b")
        figures = _given([bool(p.label) for p in known], [p.score or 0.0 for p in known], threshold)
        document = {"task": None, "figures": figures.to_dict()}
    else:
        from imatch.cli.options.match import may_fetch
        from imatch.core.progress import progress
        from imatch.pipeline.pair.config import load_config, make_config
        from imatch.retrieval.evaluate.score_pairs import score_pairs

        base = load_config(None, settings)
        given = {} if matcher is None else {"matcher": matcher}
        fetch = may_fetch(base, offline=offline)
        config = make_config(base, **given, device=device, fetch=fetch)
        wanted = task == "same" and not no_embedder
        loaded = chosen_embedder(embedder, device=device, offline=offline) if wanted else None
        with progress("measuring", len(known), enabled=not is_quiet()) as advance:
            scored = score_pairs(task, known, config, embedder=loaded, on_pair=advance)
        for item in scored.skipped:
            note(f"skipped {item.path}: {item.reason}")
        figures, decision = _judged(scored, loaded, embedder, stored, store, least_precision, table)
        document = {
            "task": task,
            "held_out": store is not None,
            "figures": figures.to_dict(),
            "decision": decision.to_dict(),
            "skipped": [{"pair": item.path, "reason": item.reason} for item in scored.skipped],
        }
        if store is not None:
            _store(store, decision, overwrite=overwrite)
    if out is not None:
        with atomic_path(out, overwrite=overwrite) as temporary:
            temporary.write_text(to_json(document) + "\n", encoding="utf-8")
        note(f"wrote {out}")
    if fmt == "json":
        click.echo(to_json(document))
    else:
        _show(figures, held_out=store is not None)


def _given(labels: list[bool], scores: list[float], threshold: float | None) -> PairFigures:
    from imatch.retrieval.pair_metrics import best_threshold, measure

    return measure(
        labels, scores, best_threshold(labels, scores) if threshold is None else threshold
    )


def _judged(
    scored: ScoredPairs,
    embedder: Embedder | None,
    source: str | None,
    stored: Path | None,
    store: Path | None,
    least_precision: float,
    table: Path,
) -> tuple[PairFigures, Decision]:
    """The figures of held-out pairs where a decision is learnt, else of a stored one."""
    import numpy as np

    from imatch.retrieval.decision import decision_for
    from imatch.retrieval.pair_metrics import measure

    if store is not None:
        features = scored.features
        if scored.task == "same" and embedder is None:
            features = tuple(name for name in features if name != "similarity")
        decision, held = scored.fit(
            features, embedder=embedder, least_precision=least_precision, source=table.name
        )
        seen = np.isfinite(held)
        return measure(scored.labels[seen], held[seen], decision.threshold), decision
    identity = None if embedder is None else embedder.identity
    decision = decision_for(scored.task, identity, source=source, file=stored)
    return measure(scored.labels, scored.decided(decision), decision.threshold), decision


def _store(path: Path, decision: Decision, *, overwrite: bool) -> None:
    """Write a decision; others that the file holds stay."""
    from imatch.retrieval.decision import read_decisions, write_decisions

    others = read_decisions(path) if path.exists() else []
    kept = [
        other
        for other in others
        if (other.task, other.identity) != (decision.task, decision.identity)
    ]
    write_decisions(path, [*kept, decision], overwrite=overwrite)
    note(f"wrote {path}")


def _show(figures: PairFigures, *, held_out: bool) -> None:
    untrue = figures.count - figures.positives
    rows = [
        ("pairs", f"{figures.positives} yes, {untrue} no{', held out' if held_out else ''}"),
        ("F1", f"{figures.f1:.4f} at {figures.threshold:.4g}"),
        ("precision", f"{figures.precision:.4f}"),
        ("recall", f"{figures.recall:.4f}"),
        ("false positives", f"{figures.false_positive_rate:.4%}"),
        ("average precision", f"{figures.average_precision:.4f}"),
        ("ROC AUC", f"{figures.roc_auc:.4f}"),
    ]
    if figures.brier is not None and figures.calibration_error is not None:
        rows.append(("Brier score", f"{figures.brier:.4f}"))
        rows.append(("calibration error", f"{figures.calibration_error:.4f}"))
    for label, text in rows:
        click.echo(f"{label:18} {text}")
