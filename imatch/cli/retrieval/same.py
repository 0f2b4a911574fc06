"""``imatch same``: do two images show the same ground?"""

from __future__ import annotations

from pathlib import Path

import click

from imatch.cli.console import seen
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import (
    format_option,
    offline_option,
    overwrite_option,
    registration_option,
    settings_option,
)
from imatch.cli.options.embedder import (
    decision_option,
    device_option,
    embedder_option,
    no_embedder_option,
)
from imatch.cli.options.match import matcher_config, matcher_option, no_geocoding_option
from imatch.cli.options.values import parse_bands


@click.command(cls=Verb)
@click.argument("a")
@click.argument("b")
@matcher_option()
@no_geocoding_option
@click.option("--bands", metavar="LIST", callback=parse_bands, help="Bands to compare, as 4,3,2.")
@decision_option("A stored decision.  [default: the embedder's]")
@embedder_option
@no_embedder_option
@device_option
@offline_option
@settings_option
@registration_option("Write how B lies on A, as imatch match -o does.")
@overwrite_option
@format_option
def same(
    a: str,
    b: str,
    *,
    matcher: str | None,
    no_geocoding: bool,
    bands: tuple[int | str, ...] | None,
    decision: Path | None,
    embedder: str | None,
    match_only: bool,
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
    import imatch
    from imatch.core.io.jsontext import to_json
    from imatch.export import check_outputs

    if embedder is not None and match_only:
        raise click.UsageError("--embedder and --no-embedder contradict each other")
    config = matcher_config(
        matcher,
        settings,
        device=device,
        offline=offline,
        use_geocoding=False if no_geocoding else None,
        ref_bands=bands,
        tgt_bands=bands,
    )
    if registration is not None:
        check_outputs([registration], overwrite=overwrite, inputs=[Path(a), Path(b)])
    answer = imatch.same_ground(
        a,
        b,
        config,
        embedder=embedder,
        match_only=match_only,
        decision=decision,
        progress=seen(),
    )
    for text in answer.notes:
        note(text)
    if registration is not None and answer.registration is not None:
        answer.registration.save(registration, overwrite=overwrite)
    if fmt == "json":
        click.echo(to_json({"a": a, "b": b, **answer.to_dict()}))
    else:
        click.echo(f"{int(answer.same)}  {answer.probability:.3f}  {answer.reason}")
    if registration is not None:
        if answer.registration is None:
            note(f"not written: {registration}: nothing was matched")
        else:
            note(f"wrote {registration}")
