"""``imatch same``: do two images show the same ground?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from imatch.cli.console import status_line
from imatch.cli.logs import Verb, is_quiet, note
from imatch.cli.options.common import (
    format_option,
    offline_option,
    overwrite_option,
    settings_option,
    verbosity_options,
)
from imatch.cli.options.embedder import chosen_embedder, device_option, embedder_option
from imatch.cli.options.values import complete_matcher, known_matcher, parse_bands


@click.command(cls=Verb)
@click.argument("a")
@click.argument("b")
@click.option(
    "-m",
    "--matcher",
    metavar="NAME",
    callback=known_matcher,
    shell_complete=complete_matcher,
    help="Which matcher; see imatch matchers.  [default: auto]",
)
@click.option(
    "--no-geocoding", is_flag=True, help="Ignore where the files say they lie; compare pixels."
)
@click.option("--bands", metavar="LIST", callback=parse_bands, help="Bands to compare, as 4,3,2.")
@click.option(
    "--decision",
    "stored",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A stored decision.  [default: the embedder's]",
)
@embedder_option
@click.option(
    "--no-embedder", is_flag=True, help="Decide by the match alone; nothing is fetched for it."
)
@device_option
@offline_option
@settings_option
@click.option(
    "--registration",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write how B lies on A, as imatch match -o does.",
)
@overwrite_option
@format_option
@verbosity_options
def same(
    a: str,
    b: str,
    *,
    matcher: str | None,
    no_geocoding: bool,
    bands: tuple[int | str, ...] | None,
    stored: Path | None,
    embedder: str | None,
    no_embedder: bool,
    device: str,
    offline: bool,
    settings: tuple[str, ...],
    registration: Path | None,
    overwrite: bool,
    fmt: str,
) -> None:
    """Say whether images A and B show the same ground: 1 or 0, how probable, and why.

    The answer rests on what the matcher certifies and, with weights, on how alike the images'
    embeddings are. Two geocoded images that share no ground by what their files say do not, unless
    --no-geocoding.

    \b
    imatch same unknown.jpg candidate.tif
    imatch same a.tif b.tif --no-geocoding --format json
    """  # noqa: D301 - click wants the backspace itself.
    from imatch.cli.options.match import may_fetch
    from imatch.core.io.jsontext import to_json
    from imatch.export import check_outputs
    from imatch.export import write as write_registration
    from imatch.pipeline.pair.config import load_config, make_config
    from imatch.pipeline.pair.match import open_images
    from imatch.retrieval.decision import decision_for
    from imatch.retrieval.same import same_ground

    if embedder is not None and no_embedder:
        raise click.UsageError("--embedder and --no-embedder contradict each other")
    if registration is not None:
        check_outputs([registration], overwrite=overwrite, inputs=[Path(a), Path(b)])
    base = load_config(None, settings)
    given: dict[str, Any] = {} if matcher is None else {"matcher": matcher}
    if no_geocoding:
        given["use_geocoding"] = False
    fetch = may_fetch(base, offline=offline)
    if bands is not None:
        given |= {"ref_bands": bands, "tgt_bands": bands}
    config = make_config(base, **given, device=device, fetch=fetch)
    sources = open_images(a, b, config)
    loaded = None
    if not no_embedder:
        loaded = _embedder(embedder, device=device, offline=offline)
    identity = None if loaded is None else loaded.identity
    decision = decision_for("same", identity, source=embedder, file=stored)
    if loaded is not None and decision.identity is None:
        note(
            f"deciding by the match alone: nothing was learnt for {loaded.name} (eval pairs --fit)"
        )
    with status_line(enabled=not is_quiet()) as on_stage:
        answer = same_ground(*sources, decision, config, embedder=loaded, on_stage=on_stage)
    if fmt == "json":
        click.echo(to_json({"a": a, "b": b, **answer.to_dict()}))
    else:
        click.echo(f"{int(answer.same)}  {answer.probability:.3f}  {answer.reason}")
    if registration is not None:
        if answer.registration is None:
            note(f"not written: {registration}: nothing was matched")
        else:
            write_registration(answer.registration, registration, overwrite=overwrite)
            note(f"wrote {registration}")


def _embedder(name: str | None, *, device: str, offline: bool) -> Any:
    """The embedder asked for; the default one only where its weights are here or may be fetched."""
    from imatch.core.errors import WeightsError

    try:
        return chosen_embedder(name, device=device, offline=offline)
    except WeightsError as error:
        if name is not None:
            raise
        note(f"deciding by the match alone: {error.subject}: {error.cause}")
        return None
