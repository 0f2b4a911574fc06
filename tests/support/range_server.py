"""Files over HTTP by ranges, counted, and a STAC API's search: run in a process of its own.

GDAL asks for bytes while it holds Python's lock, so a thread of the test could not answer it.
Below ``/no-ranges/`` the same files come whole whatever is asked for, below ``/403/`` and the like
with that status, below ``/slow/`` never; below ``/get-only/`` HEAD is refused, as for a signed URL.

    python range_server.py FOLDER    # prints its port
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

SENT: dict[str, int] = {}
FAILURES: dict[str, int] = {}
SEARCHES: list[Any] = []
REQUESTS: list[str] = []


class Ranges(SimpleHTTPRequestHandler):
    """Answers ranges; ``/-/sent``, ``/-/fail`` and the like are for the test."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def parse_request(self) -> bool:
        """Note whatever is asked for, by whatever method."""
        known = super().parse_request()
        if known and not self.path.startswith("/-/"):
            REQUESTS.append(f"{self.command} {self.path}")
        return known

    def do_GET(self) -> None:
        """A file, a range of it, or what was counted."""
        url = urlparse(self.path)
        if url.path == "/-/sent":
            self._answer(json.dumps(SENT).encode())
            SENT.clear()
            return
        if url.path == "/-/requests":
            self._answer(json.dumps(REQUESTS).encode())
            REQUESTS.clear()
            return
        if url.path == "/-/searches":
            self._answer(json.dumps(SEARCHES).encode())
            return
        if url.path == "/-/fail":
            FAILURES.update({name: int(count[0]) for name, count in parse_qs(url.query).items()})
            self._answer(b"{}")
            return
        first, _, rest = url.path.removeprefix("/").partition("/")
        if first.isdecimal():
            self.send_error(int(first))
            return
        if first == "slow":
            time.sleep(30)
            return
        if first == "get-only" and self.command == "HEAD":
            self.send_error(403)
            return
        whole = first == "no-ranges"
        under = first in ("no-ranges", "get-only")
        path = Path(self.translate_path(f"/{rest}" if under else url.path))
        if not path.is_file() and "AWS4" in self.headers.get("Authorization", ""):
            told = (
                b"<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message>"
            )
            self._answer(told + b"</Error>", status=404)
        elif not path.is_file():
            self.send_error(404)
        elif FAILURES.get(path.name, 0) > 0:
            FAILURES[path.name] -= 1
            self.send_error(503)
        else:
            content = path.read_bytes()
            asked = re.match(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
            facts = path.stat()
            tags = {"ETag": f'"{facts.st_mtime_ns:x}-{facts.st_size:x}"'}
            tags["Last-Modified"] = self.date_time_string(int(facts.st_mtime))
            self._answer(content, None if whole else asked, tags, name=path.name)

    def do_HEAD(self) -> None:
        """The same without the content."""
        self.do_GET()

    def do_POST(self) -> None:
        """A search: whatever ``search.json`` says."""
        SEARCHES.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self._answer(Path(self.translate_path("/search.json")).read_bytes())

    def _answer(
        self,
        content: bytes,
        asked: re.Match[str] | None = None,
        tags: Mapping[str, str] | None = None,
        name: str = "",
        status: int = 200,
    ) -> None:
        if asked is None:
            body = content
            self.send_response(status)
        else:
            begin = int(asked[1])
            end = min(int(asked[2] or len(content) - 1), len(content) - 1)
            body = content[begin : end + 1]
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{end}/{len(content)}")
        wanted = self.command != "HEAD"
        if name and wanted:
            SENT[name] = SENT.get(name, 0) + len(body)
        for key, value in (tags or {}).items():
            self.send_header(key, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if wanted:
            with suppress(ConnectionError):
                self.wfile.write(body)


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Ranges, directory=sys.argv[1]))
    print(server.server_port, flush=True)
    server.serve_forever()
