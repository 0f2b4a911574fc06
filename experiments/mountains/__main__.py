r"""Mountains in sentences, from the name to the image.

    python -m experiments.mountains validate ../shared/ner/mountain_train.jsonl \
        --against ../shared/ner/mountain_val.jsonl -o out/mountain_sentences
    python -m experiments.mountains train experiments/mountains/mountains.yaml -o out/mountains
    python -m experiments.mountains find 'We looked at Mount Fuji from Tokyo.'
    python -m experiments.mountains fetch 'We looked at Mount Fuji from Tokyo.' --dates 2023 \
        --url https://earth-search.aws.element84.com/v1 --collection sentinel-2-l2a -o out/fuji

``validate`` checks a file of sentences, ``convert`` makes one of Wikipedia extracts, ``forerunner``
one of 98 names in sentences of a template; ``train`` trains, ``search`` and ``curve`` train many
times, ``evaluate`` measures; ``find`` and ``fetch`` use the tagger.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from imatch.cli.errors import INTERRUPTED, explain
from imatch.core.errors import ConfigError, ImatchError, InputError
from imatch.core.extras import require_extra
from imatch.core.io.files import atomic_path, check_output
from imatch.core.settings import load_settings, template

Asked = argparse.Namespace
MODEL = Path("out/mountains")


def validate(asked: Asked) -> None:
    """Checks a file of sentences."""
    from experiments.mountains.checks import CheckConfig, check_file
    from experiments.mountains.gazetteer import load_gazetteer

    report = check_file(
        asked.file,
        asked.output,
        load_settings(CheckConfig, None, asked.set),
        against=asked.against,
        gazetteer=load_gazetteer(asked.gazetteer),
        overwrite=asked.overwrite,
    )
    facts = report.facts()
    print(f"{facts['kept']} sentences kept, {facts['dropped']} dropped: {asked.output}")
    for reason, count in facts["reasons"].items():
        print(f"{count:7} {reason}")
    print(f"{facts['repaired_spans']:7} sentences with repaired labels")
    for what in ("contradicted", "too_often", "other_places"):
        for name, count in list(facts[what].items())[:10]:
            print(f"{count:7} {what.replace('_', ' ')}: {name}")


def convert(asked: Asked) -> None:
    """Makes sentences of Wikipedia extracts."""
    from experiments.mountains.gazetteer import load_gazetteer
    from experiments.mountains.sentences import write_sentences
    from experiments.mountains.sources import convert as convert_file

    titles = asked.titles.read_text(encoding="utf-8").splitlines() if asked.titles else ()
    made = list(convert_file(asked.file, load_gazetteer(asked.gazetteer), titles))
    write_sentences(asked.output, made, overwrite=asked.overwrite)
    print(f"{len(made)} sentences: {asked.output}")


def forerunner(asked: Asked) -> None:
    """Makes sentences as the forerunner did."""
    from experiments.mountains.gazetteer import load_gazetteer
    from experiments.mountains.sentences import write_sentences
    from experiments.mountains.sources import forerunner as made

    write_sentences(asked.output, made(load_gazetteer(), asked.seed), overwrite=asked.overwrite)
    print(f"wrote {asked.output}")


def train(asked: Asked) -> None:
    """Trains a tagger."""
    from experiments.mountains.trainer import MountainConfig
    from experiments.mountains.trainer import train as start
    from imatch.core.progress import shown

    if asked.template:
        print(template(MountainConfig), end="")
        return
    if asked.output is None:
        raise ConfigError("names no folder for the run", subject="train", hint="pass -o RUN")
    with shown(True)("training", None) as advance:
        outcome = start(
            asked.output,
            asked.config,
            settings=asked.set,
            resume=asked.resume,
            overfit=asked.overfit_batch,
            on_step=advance,
        )
    print(f"{outcome.ended} at step {outcome.step}: {asked.output}")
    if outcome.best is not None:
        print(f"best at step {outcome.best[0]}: {outcome.best[1]:.4f}")
    for name, value in sorted(outcome.figures.items()):
        print(f"{name:24} {value:.4f}")
    if outcome.ended == "interrupted":
        raise KeyboardInterrupt


def search(asked: Asked) -> None:
    """Trains with settings drawn at random."""
    from experiments.mountains.searching import random_search

    trials = random_search(
        asked.output,
        asked.config,
        trials=asked.trials,
        seed=asked.seed,
        settings=asked.set,
        on_trial=lambda one: print(f"{one.trial:3} {one.f1:.4f} {one.settings}", flush=True),
    )
    best = trials[0]
    print(f"best: {best.f1:.4f} by {' '.join(f'-s {part}' for part in best.settings.split())}")


def curve(asked: Asked) -> None:
    """Trains on growing shares of the sentences."""
    from experiments.mountains.searching import learning_curve
    from experiments.mountains.sentences import read_sentences

    sentences = read_sentences(asked.sentences)
    for row in learning_curve(
        asked.output, asked.config, sentences, shares=asked.share, settings=asked.set
    ):
        print(f"{row['sentences']:6} sentences: F1 {row['f1']:.4f}, unseen {row['unseen']:.4f}")


def evaluate(asked: Asked) -> None:
    """Measures a tagger and the baselines."""
    from experiments.mountains.evaluate import evaluate as measure
    from experiments.mountains.evaluate import table
    from experiments.mountains.gazetteer import load_gazetteer
    from experiments.mountains.sentences import read_sentences
    from experiments.mountains.trainer import load_tagger

    check_output(asked.output, overwrite=asked.overwrite)
    sentences = read_sentences(asked.sentences)
    tagger, about = load_tagger(asked.model)
    facts = measure(
        tagger,
        about,
        sentences,
        asked.news,
        load_gazetteer(asked.gazetteer),
        asked.output,
        forerunner=load_tagger(asked.forerunner)[0] if asked.forerunner else None,
        least=asked.least,
        overwrite=asked.overwrite,
    )
    print(table(facts), end="")


def find(asked: Asked) -> None:
    """Finds the mountains of a text."""
    from experiments.mountains.find import find_mentions, notes, text_of, written
    from experiments.mountains.gazetteer import load_gazetteer
    from experiments.mountains.trainer import load_tagger

    if asked.output is not None:
        check_output(asked.output, overwrite=asked.overwrite)
    text, gazetteer = text_of(asked.text), load_gazetteer(asked.gazetteer)
    tagger, _ = load_tagger(asked.model)
    mentions = find_mentions(text, tagger, gazetteer, least=asked.least, progress=True)
    for note in notes(text, mentions):
        print(f"experiments.mountains: {note}", file=sys.stderr)
    made = written(mentions, asked.format, asked.margin_km)
    if asked.output is None:
        print(made)
        return
    with atomic_path(asked.output, overwrite=asked.overwrite) as temporary:
        temporary.write_text(made + "\n", encoding="utf-8")
    print(f"{len(mentions)} mountains: {asked.output}", file=sys.stderr)


def fetch(asked: Asked) -> None:
    """Fetches images of the mountain that a text names."""
    from experiments.mountains.find import choose, find_mentions, text_of
    from experiments.mountains.gazetteer import load_gazetteer
    from experiments.mountains.trainer import load_tagger
    from imatch.datasets.fetch.stac import StacQuery, fetch_stac

    require_extra("pystac_client", "for fetch")
    text, gazetteer = text_of(asked.text), load_gazetteer(asked.gazetteer)
    tagger, _ = load_tagger(asked.model)
    mentions = find_mentions(text, tagger, gazetteer, least=asked.least)
    place = choose(mentions, asked.candidate, asked.mention)
    box = place.bbox(asked.margin_km)
    if (box[2] - box[0]) * (box[3] - box[1]) > asked.most_degrees:
        raise InputError(
            f"spans {box[2] - box[0]:.1f} by {box[3] - box[1]:.1f} degrees",
            subject=place.name,
            hint="name one of its summits, or pass a larger --most-degrees",
        )
    print(f"{place.name}: --bbox {','.join(f'{value:.5f}' for value in box)}", flush=True)
    query = StacQuery(
        asked.url, box, asked.dates, asked.collection, asked.max_cloud, asked.per_season
    )
    done = fetch_stac(query, asked.output, overwrite=asked.overwrite, progress=True)
    print(f"{len(done.items)} of {done.found} images in {asked.output}")
    for item in done.skipped:
        print(f"skipped {item.path}: {item.reason}", file=sys.stderr)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    described = (__doc__ or "").splitlines()[0]
    whole = argparse.ArgumentParser(prog="experiments.mountains", description=described)
    parts = whole.add_subparsers(required=True, metavar="VERB")

    def verb(run: object, text: str) -> argparse.ArgumentParser:
        part = parts.add_parser(run.__name__, help=text, description=text)  # type: ignore[attr-defined]
        part.set_defaults(run=run)
        return part

    def outputs(part: argparse.ArgumentParser, what: str, needed: bool = True) -> None:
        part.add_argument("-o", "--output", type=Path, required=needed, help=what)
        part.add_argument("--overwrite", action="store_true", help="replace what is there")

    def gazetteer(part: argparse.ArgumentParser) -> None:
        part.add_argument(
            "--gazetteer",
            type=Path,
            metavar="FILE",
            help="a table, GeoNames' .txt or features such as Natural Earth's; default: the"
            " mountains that come with it",
        )

    def settings(part: argparse.ArgumentParser) -> None:
        part.add_argument(
            "-s", "--set", action="append", default=[], metavar="KEY=VALUE", help="override one"
        )

    def model(part: argparse.ArgumentParser) -> None:
        part.add_argument(
            "--model", type=Path, default=MODEL, metavar="RUN", help=f"default: {MODEL}"
        )
        part.add_argument(
            "--least",
            type=float,
            help="probability below which a name is left out; default: the model's",
        )

    def margin(part: argparse.ArgumentParser) -> None:
        part.add_argument(
            "--margin-km", type=float, default=5.0, help="around a summit or range; default: 5"
        )

    part = verb(validate, "check a file of sentences; write what is kept and what is dropped")
    part.add_argument("file", type=Path, help=".jsonl, .conll, .bio, .tsv, or spaCy's .json")
    part.add_argument("--against", type=Path, action="append", default=[], help="another split")
    outputs(part, "folder to make")
    gazetteer(part)
    settings(part)
    part = verb(convert, "make sentences of Wikipedia extracts with links")
    part.add_argument("file", type=Path, help="what WikiExtractor writes with --json --links")
    part.add_argument("--titles", type=Path, help="file of titles that are mountains, one a line")
    outputs(part, "JSON lines to write")
    gazetteer(part)
    part = verb(forerunner, "make sentences of 98 names and templates, as the forerunner did")
    part.add_argument("--seed", type=int, default=0)
    outputs(part, "JSON lines to write")
    part = verb(train, "train a tagger")
    part.add_argument("config", type=Path, nargs="?", help="YAML file of settings")
    part.add_argument("-o", "--output", type=Path, metavar="RUN", help="folder of the run")
    part.add_argument("--resume", action="store_true", help="go on with the run that is there")
    part.add_argument("--overfit-batch", action="store_true", help="learn a single batch")
    part.add_argument("--template", action="store_true", help="print all settings")
    settings(part)
    part = verb(search, "train with settings drawn at random, and keep a table")
    part.add_argument("config", type=Path, nargs="?", help="YAML file of settings")
    part.add_argument("-o", "--output", type=Path, required=True, help="folder for the runs")
    part.add_argument("--trials", type=int, default=8)
    part.add_argument("--seed", type=int, default=0)
    settings(part)
    part = verb(curve, "train on growing shares of the sentences")
    part.add_argument("config", type=Path, nargs="?", help="YAML file of settings")
    part.add_argument("-o", "--output", type=Path, required=True, help="folder for the runs")
    part.add_argument("--sentences", type=Path, required=True, help="what is measured on")
    part.add_argument("--share", type=float, nargs="+", default=[0.1, 0.25, 0.5, 1.0])
    settings(part)
    part = verb(evaluate, "measure a tagger and the baselines")
    model(part)
    part.add_argument("--sentences", type=Path, required=True, help="not trained on")
    part.add_argument("--news", type=Path, nargs="*", default=[], help="text without mountains")
    part.add_argument("--forerunner", type=Path, metavar="RUN", help="trained by that recipe")
    outputs(part, "folder to make")
    gazetteer(part)
    for run, text in (
        (find, "find the mountains of a text and where they are"),
        (fetch, "fetch images of the mountain that a text names"),
    ):
        part = verb(run, text)
        part.add_argument("text", help="a text, or a file of it")
        model(part)
        gazetteer(part)
        margin(part)
        outputs(part, "file, or folder for images", needed=run is fetch)
        if run is find:
            part.add_argument("--format", choices=("table", "json", "geojson"), default="table")
    part.add_argument("--url", required=True, help="a STAC API, or a static catalogue's JSON")
    part.add_argument("--collection", help="default: all")
    part.add_argument("--dates", required=True, help="2018-01-01/2019-12-31, a year or a month")
    part.add_argument("--max-cloud", type=float, default=20.0)
    part.add_argument("--per-season", type=int, default=2)
    part.add_argument("--mention", help="which mountain, where the text names several")
    part.add_argument("--candidate", type=int, help="which place, where a name is ambiguous")
    part.add_argument("--most-degrees", type=float, default=1.0, help="largest box, square degrees")
    return whole


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a verb; what goes wrong is one line on stderr and an exit code."""
    asked = parser().parse_args(arguments)
    try:
        for module in ("transformers", "rapidfuzz", "seqeval"):
            require_extra(module, "for the mountain tagger")
        asked.run(asked)
    except KeyboardInterrupt:
        print("experiments.mountains: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ImatchError, OSError, MemoryError) as error:
        print(f"experiments.mountains: error: {explain(error)}", file=sys.stderr)
        return getattr(error, "exit_code", 1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
