from __future__ import annotations

import json
import logging
import pickle
import shlex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imatch.core.errors import InputError
from imatch.core.io.jsontext import to_json
from imatch.core.redaction import get_logger, redacted

PLAIN = "https://host.example/a/b.tif"
SIGNED = "https://me:pw-SECRET@host.example/a/b.tif?X-Amz-Signature=SECRET&sig=SECRET/x%2B=="


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (SIGNED, PLAIN),
        (PLAIN, PLAIN),
        (f"/vsicurl/{SIGNED}", f"/vsicurl/{PLAIN}"),
        (f"/vsizip/{{/vsicurl/{SIGNED}}}/in.tif", f"/vsizip/{{/vsicurl/{PLAIN}}}/in.tif"),
        (f"zip+{SIGNED}", f"zip+{PLAIN}"),
        (f"/vsicurl?max_retry=2&url={SIGNED}", f"/vsicurl/{PLAIN}"),
        (
            "/vsicurl_streaming?header.Authorization=SECRET&url=https%3A%2F%2Fme%3ASECRET%40h"
            "%2Fa.tif%3Fsig%3DSECRET",
            "/vsicurl_streaming/https://h/a.tif",
        ),
        ("/vsiaz/container/a.tif?sv=1&sig=SECRET", "/vsiaz/container/a.tif"),
        ("s3://KEY:SECRET@bucket/a.tif?versionId=SECRET", "s3://bucket/a.tif"),
        ("https://host/a.tif#access_token=SECRET", "https://host/a.tif"),
        # As pathlib leaves it.
        ("https:/me:SECRET@host/a.tif?sig=SECRET", "https:/host/a.tif"),
        (f"https://tiles/cog?url={SIGNED}", "https://tiles/cog"),
        (f"https://proxy/{SIGNED}", f"https://proxy/{PLAIN}"),
        (f'STACIT:"{SIGNED}":asset=B04', f'STACIT:"{PLAIN}":asset=B04'),
        ("PLMOSAIC:mosaic=a,api_key=SECRET,cache=b", "PLMOSAIC:mosaic=a,api_key=...,cache=b"),
        (f"<SourceFilename>/vsicurl/{SIGNED}</X>", f"<SourceFilename>/vsicurl/{PLAIN}</X>"),
        (f"`{SIGNED}' does not exist", f"`{PLAIN}' does not exist"),
        (f"cannot be read ({SIGNED}); try again.", f"cannot be read ({PLAIN}); try again."),
        (shlex.join(["imatch", SIGNED, "-s", f"m={SIGNED}"]), f"imatch '{PLAIN}' -s 'm={PLAIN}'"),
        ("a?b.tif: what?", "a?b.tif: what?"),
        ("/data/token=7/a#1.tif seed=3", "/data/token=7/a#1.tif seed=3"),
        ("C:/a#b?c", "C:/a#b?c"),
        ("/vsizip/my#dir/a.zip/what?.tif", "/vsizip/my#dir/a.zip/what?.tif"),
    ],
)
def test_what_is_left_of_a_text(text: str, expected: str) -> None:
    assert redacted(text) == expected
    assert redacted(expected) == expected


_PART = st.text(st.characters(codec="ascii", categories=("L", "N")), min_size=1, max_size=8)


@given(
    scheme=st.sampled_from(["http", "https", "s3", "gs", "az", "ftp", "zip+https"]),
    before=st.sampled_from(["", "/vsicurl/", "/vsizip//vsicurl/", "/vsicurl?url=", "a ", "'", "("]),
    after=st.sampled_from(["", "'", " is gone", ")", "</a>"]),
    path=st.lists(_PART, max_size=3).map("/".join),
    query=st.lists(_PART, max_size=3).map("SECRET&".join),
    user=st.booleans(),
)
def test_no_secret_survives(
    scheme: str, before: str, after: str, path: str, query: str, user: bool
) -> None:
    login = "me:SECRET@" if user else ""
    text = f"{before}{scheme}://{login}host/{path}?{query}SECRET=SECRET{after}"
    found = redacted(text)
    assert "SECRET" not in found
    assert f"://host/{path}" in found
    assert redacted(found) == found


def test_long_texts_take_no_time() -> None:
    for text in ("a" * 10**6, "://" * 10**6, "/vsicurl?" * 10**5, "https://h?" * 10**5):
        redacted(text)


def test_an_error_holds_no_secret() -> None:
    error = InputError(f"HTTP 403 of {SIGNED}", subject=SIGNED, hint=f"ask {SIGNED} again")
    for one in (error, pickle.loads(pickle.dumps(error))):  # noqa: S301 - as from a worker.
        assert str(one) == f"{PLAIN}: HTTP 403 of {PLAIN}; ask {PLAIN} again"
        assert one.subject == PLAIN


def test_a_document_holds_no_secret() -> None:
    document = {"files": [{"name": SIGNED}], SIGNED: (f"see {SIGNED}",)}
    assert json.loads(to_json(document)) == {"files": [{"name": PLAIN}], PLAIN: [f"see {PLAIN}"]}


def test_a_log_holds_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    get_logger("imatch.test").warning("%s: %d bands", SIGNED, 3)
    get_logger("imatch.test").warning("again")
    assert caplog.messages == [f"{PLAIN}: 3 bands", "again"]
    assert len(logging.getLogger("imatch.test").filters) == 1
