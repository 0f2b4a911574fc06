"""Groups that import a verb only when it is used, and the one place where errors become words."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

from imatch.cli.errors import reported
from imatch.cli.logs import add_verbosity

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class SuggestingGroup(click.Group):
    """A group whose answer to an unknown verb names the nearest one."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or say which one may have been meant."""
        name = args[0]
        known = self.list_commands(ctx)
        if name not in known and not name.startswith("-") and not ctx.resilient_parsing:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {close[0]!r}?" if close else f"choose one of {', '.join(known)}"
            ctx.fail(f"no such command {name!r}; {hint}")
        return super().resolve_command(ctx, args)


class LazyGroup(SuggestingGroup):
    """A group that imports a verb when it is used.

    Args:
        verbs: Name of each verb -> (``"module:command"``, its one-line help). Listing them imports
            nothing.
        attrs: As for `click.Group`.
    """

    def __init__(self, *, verbs: Mapping[str, tuple[str, str]], **attrs: Any) -> None:
        super().__init__(**attrs)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The verbs in the order in which they were given."""
        return list(self.verbs)

    def get_command(
        self,
        ctx: click.Context,  # noqa: ARG002
        cmd_name: str,
    ) -> click.Command | None:
        """Import one verb."""
        if cmd_name not in self.verbs:
            return None
        module, _, attribute = self.verbs[cmd_name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """List the verbs from the table, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.verbs.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete verbs from the table, without importing any."""
        from click.shell_completion import CompletionItem

        verbs = [
            CompletionItem(name, help=summary)
            for name, (_, summary) in self.verbs.items()
            if name.startswith(incomplete)
        ]
        return verbs + click.Command.shell_complete(self, ctx, incomplete)


class VerbGroup(LazyGroup):
    """The top-level group, where every way to fail is put into words."""

    def __init__(self, **attrs: Any) -> None:
        super().__init__(**attrs)
        add_verbosity(self)

    def make_context(
        self,
        info_name: str | None,
        args: list[str],
        parent: click.Context | None = None,
        **extra: Any,
    ) -> click.Context:
        """Parse the group's own options; a wrong one is reported in one line."""
        with reported(parent):
            return super().make_context(info_name, args, parent, **extra)
        raise AssertionError("unreachable")  # `reported` never swallows an exception.

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb; whatever goes wrong in it becomes one line and an exit code."""
        with reported(ctx):
            return super().invoke(ctx)
