from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_its_script(run: Run, shell: str) -> None:
    result = run("completion", shell)
    assert result.exit_code == 0
    assert f"_IMATCH_COMPLETE={shell}_complete" in result.stdout


def test_another_shell_is_a_usage_error(run: Run) -> None:
    result = run("completion", "tcsh")
    assert result.exit_code == 2
    assert "'tcsh' is not one of 'bash', 'zsh', 'fish'" in result.stderr


def complete(words: str) -> list[str]:
    """What bash is offered after the words."""
    done = subprocess.run(
        [sys.executable, "-m", "imatch"],
        env=os.environ
        | {
            "_IMATCH_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - (not words.endswith(" "))),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return [line.split(",", 1)[1] for line in done.stdout.splitlines()]


def test_verbs_options_and_matchers_are_completed() -> None:
    assert complete("imatch ma") == ["match", "matchers"]
    assert "--max-keypoints" in complete("imatch match --m")
    assert complete("imatch match a b -m ali") == ["aliked-lightglue"]
    assert complete("imatch weights fetch aliked-n") == [
        "aliked-n16",
        "aliked-n16rot",
        "aliked-n32",
    ]
