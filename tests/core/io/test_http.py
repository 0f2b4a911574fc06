"""Asking other hosts: what they answer, and what goes wrong in one line."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from imatch.core.errors import InputError
from imatch.core.io.fingerprint import Fingerprint
from imatch.core.io.http import ask
from imatch.core.io.offline import offline


class Host(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, after the fashion that the path tells."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        kind, _, status = self.path.partition("?")[0].strip("/").partition("/")
        if kind == "status":
            self.send_error(int(status))
        elif kind == "hang":
            released.wait(20)
        elif kind == "garbage":
            self.wfile.write(b"what?\r\n\r\n")
        else:
            body = f"{self.headers.get('Authorization')} {self.headers.get('Range')}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            if kind == "tagged":
                self.send_header("ETag", 'W/"1"')
                self.send_header("Last-Modified", "Thu, 01 Jan 1970 00:00:09 GMT")
            self.end_headers()
            self.wfile.write(body)


released = threading.Event()


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    released.set()
    server.shutdown()
    server.server_close()


def test_credentials_of_a_url_are_sent_as_a_header(host: str) -> None:
    answer = ask(f"http://me:p%40ss@{host}/x", headers={"Range": "bytes=0-0"})
    assert answer.body == b"Basic bWU6cEBzcw== bytes=0-0"
    assert ask(f"http://{host}/x", most=4).body == b"None"


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("status/401", r"it wants credentials \(HTTP 401\)"),
        ("status/403", r"it refuses access \(HTTP 403\); sign the URL anew"),
        ("status/404", r"there is no such file \(HTTP 404\)"),
        ("status/429", r"it is asked too often \(HTTP 429\); try again later"),
        ("status/503", r"its server fails \(HTTP 503\); try again later"),
        ("hang", r"it did not answer within 0.3 s"),
        ("garbage", r"its host cannot be reached \(what"),
    ],
)
def test_what_goes_wrong_is_one_line_without_secrets(host: str, path: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        ask(f"http://me:password@{host}/{path}?sig=secret", timeout=0.3)
    assert not any(word in str(caught.value) for word in ("password", "secret", "\n"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/a", "http://no.such.host.invalid/a"])
def test_hosts_that_are_not_there(url: str) -> None:
    with pytest.raises(InputError, match=r"its host cannot be reached"):
        ask(url)


def test_other_schemes_and_offline(host: str) -> None:
    with pytest.raises(InputError, match="is no address of http or https; download it first"):
        ask("s3://bucket/item.json")
    with offline(), pytest.raises(InputError, match="no request is made offline"):
        ask(f"http://{host}/x")


def test_fingerprints_of_what_a_server_says(host: str) -> None:
    found = Fingerprint.of_url(f"http://{host}/tagged")
    assert found is not None
    assert (found.version, found.modified_ns) == ('W/"1"', 9 * 10**9)
    assert Fingerprint.of_url(f"http://{host}/plain") is None
