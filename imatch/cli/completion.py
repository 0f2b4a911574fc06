"""``imatch completion``: the script that completes verbs, options and matchers."""

from __future__ import annotations

import click

from imatch.cli.logs import Verb

SHELLS = ("bash", "zsh", "fish")


@click.command(cls=Verb)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  eval "$(imatch completion bash)"                      in ~/.bashrc
    zsh:   eval "$(imatch completion zsh)"                       in ~/.zshrc
    fish:  imatch completion fish > ~/.config/fish/completions/imatch.fish
    """  # noqa: D301 - click wants the backspace itself.
    from click.shell_completion import get_completion_class

    from imatch.cli import cli

    kind = get_completion_class(shell)
    assert kind is not None  # The three shells are click's own.
    click.echo(kind(cli, {}, "imatch", "_IMATCH_COMPLETE").source())
