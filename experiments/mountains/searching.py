"""Many trainings: a random search of hyperparameters, and a learning curve over data size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from experiments.mountains.evaluate import draw_curve
from experiments.mountains.metrics import by_novelty, score
from experiments.mountains.sentences import Sentence
from experiments.mountains.trainer import load_tagger, train
from imatch.core.io.files import atomic_path, disk_errors
from imatch.core.io.jsontext import to_json
from imatch.core.io.tables import Journal, Plain
from imatch.training.checkpoint import CONFIG

#: What a random search draws: each a function of a generator, settings as they are written.
SPACE: dict[str, Callable[[np.random.Generator], Any]] = {
    "optimiser.lr": lambda rng: float(f"{10 ** rng.uniform(-4.3, -3.5):.2g}"),
    "batch_size": lambda rng: int(rng.choice([8, 16, 32])),
    "dropout": lambda rng: round(float(rng.uniform(0.1, 0.4)), 2),
    "inner_dropout": lambda rng: round(float(rng.uniform(0.05, 0.2)), 2),
    "masked": lambda rng: round(float(rng.uniform(0, 0.2)), 2),
    "augment.substitute": lambda rng: round(float(rng.uniform(0, 0.5)), 2),
    "augment.generated": lambda rng: round(float(rng.choice([0, 0.05, 0.1])), 2),
    "loss": lambda rng: str(rng.choice(["crf", "crf", "focal"])),
    "ema": lambda rng: float(rng.choice([0.98, 0.99, 0.995])),
}


@dataclass(frozen=True)
class Trial(Plain):
    """One training of a search.

    Attributes:
        trial: Its number, from 0.
        settings: What was drawn.
        f1: Strict F1 on the held-out sentences, of its best checkpoint.
        best_step: The step of that.
        steps: Steps done.
        ended: How it ended.
    """

    trial: int
    settings: str
    f1: float
    best_step: int
    steps: int
    ended: str


def draw_settings(seed: int, trial: int) -> list[str]:
    """Returns the settings of a trial, a function of the seed and its number."""
    rng = np.random.default_rng([seed, trial])
    return [f"{name}={choose(rng)}" for name, choose in SPACE.items()]


def random_search(
    out: Path,
    config: Path | None,
    *,
    trials: int,
    seed: int = 0,
    settings: Sequence[str] = (),
    on_trial: Callable[[Trial], None] = lambda _trial: None,
) -> list[Trial]:
    """Trains with settings drawn at random, and keeps a table of them.

    A search that was cut off goes on when it is called again: trials in the table are not done
    anew, and one that was begun is resumed.

    Args:
        out: Folder for ``trials.csv`` and a run for each trial.
        config: YAML file of what is not drawn.
        trials: How many.
        seed: Of the draws.
        settings: Texts ``key=value`` that override the file.
        on_trial: Called after each.

    Returns:
        The trials, the best first.

    Raises:
        ImatchError: As `experiments.mountains.trainer.train`.
    """
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    journal = Journal(out / "trials.csv", Trial)
    done = list(journal.rows)
    for number in range(len(done), trials):
        drawn = draw_settings(seed, number)
        run = out / f"trial-{number:03d}"
        outcome = train(run, config, settings=[*settings, *drawn], resume=(run / CONFIG).is_file())
        step, f1 = outcome.best or (0, 0.0)
        row = Trial(number, " ".join(drawn), f1, step, outcome.step, outcome.ended)
        done.append(journal.append(row))
        on_trial(done[-1])
        if outcome.ended == "interrupted":
            raise KeyboardInterrupt
    return sorted(done, key=lambda one: -one.f1)


def learning_curve(
    out: Path,
    config: Path | None,
    sentences: Sequence[Sentence],
    *,
    shares: Sequence[float],
    settings: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Trains on growing shares of the sentences and measures each tagger.

    Args:
        out: Folder for ``curve.json``, ``curve.png`` and a run for each share.
        config: YAML file of settings.
        sentences: What is measured on.
        shares: Of the training sentences, each above 0 and at most 1.
        settings: Texts ``key=value`` that override the file.

    Returns:
        Number of sentences, of names, F1, and F1 of unseen names, for each share.

    Raises:
        ImatchError: As `experiments.mountains.trainer.train`.
    """
    rows = []
    for share in sorted(shares):
        run = out / f"share-{share:g}"
        options = [*settings, f"share={share}"]
        if not (run / "calibration.json").is_file():
            outcome = train(run, config, settings=options, resume=(run / CONFIG).is_file())
            if outcome.ended == "interrupted":
                raise KeyboardInterrupt
        tagger, about = load_tagger(run)
        found = [
            [item.span for item in items] for items in tagger.tag([one.tokens for one in sentences])
        ]
        names = about["data"]["names"]
        whole = score([one.spans for one in sentences], found, rounds=1000)
        rows.append(
            {
                "share": share,
                "sentences": about["data"]["train"],
                "names": len(names),
                "f1": whole.f1,
                "low": whole.low,
                "high": whole.high,
                "unseen": by_novelty(sentences, found, names)["unseen"].f1,
            }
        )
    with atomic_path(out / "curve.json", overwrite=True) as temporary:
        temporary.write_text(to_json(rows) + "\n", encoding="utf-8")
    with atomic_path(out / "curve.png", overwrite=True) as temporary:
        draw_curve(rows, temporary)
    return rows
