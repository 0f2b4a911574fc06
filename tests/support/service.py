"""A server of files by ranges, in a process of its own, and what it can be asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.request import urlopen


class Service:
    """The server, and what it can be asked."""

    def __init__(self, root: Path) -> None:
        self.root = root
        command = [
            sys.executable,
            str(Path(__file__).with_name("range_server.py")),
            str(root),
        ]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.items: list[dict[str, Any]] = []

    def ask(self, path: str) -> Any:
        with urlopen(f"{self.url}/-/{path}") as answer:  # noqa: S310 - on loopback
            return json.loads(answer.read())

    def sent(self) -> dict[str, int]:
        """Bytes of each file since last asked."""
        return dict(self.ask("sent"))

    def close(self) -> None:
        self.process.terminate()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
