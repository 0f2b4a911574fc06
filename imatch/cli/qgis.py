"""``imatch qgis``: the plugin for QGIS."""

from __future__ import annotations

from pathlib import Path

import click

from imatch.cli.group import SuggestingGroup
from imatch.cli.logs import Verb, note
from imatch.cli.options.common import PATH, overwrite_option


@click.group(cls=SuggestingGroup)
def qgis() -> None:
    """Install the QGIS plugin, or pack it for others."""


@qgis.command(cls=Verb)
@click.option(
    "--profile",
    metavar="NAME|FOLDER",
    help="The profile of QGIS to install it into.  [default: default]",
)
def install(profile: str | None) -> None:
    """Install the plugin into QGIS and switch it on.

    It adds Match, Register, Apply, Stack, Batch and Same ground? to the Processing toolbox, and
    runs this imatch. Start QGIS anew afterwards; nothing is installed into QGIS's own Python.
    """
    from imatch.qgis.install import install_plugin

    for folder in install_plugin(profile):
        note(f"wrote {folder}")
    note("start QGIS anew: imatch is in the Processing toolbox (Ctrl+Alt+T)")


@qgis.command(cls=Verb)
@click.argument("out", metavar="OUT.zip", type=PATH)
@click.option("--repository", metavar="URL", help="Where the source code and its issues are.")
@click.option("--email", metavar="ADDRESS", help="Where the maintainers are reached.")
@overwrite_option
def package(out: Path, repository: str | None, email: str | None, *, overwrite: bool) -> None:
    """Pack the plugin as OUT.zip, which QGIS installs from file.

    With --repository and --email it has all that QGIS's plugin repository asks for.
    """
    from imatch.qgis.install import package_plugin

    missing = package_plugin(out, repository=repository, email=email, overwrite=overwrite)
    note(f"wrote {out}")
    if missing:
        note(f"QGIS's plugin repository also wants: {', '.join(missing)}")
