"""What is read out of a response, and what must not be."""

import time
import zlib

import httpx
import pytest

from aioproviders.redaction import MASK, Redactor
from aioproviders.sdk.http import HTTPSDKConfig, HTTPSDKProvider
from aioproviders.sdk.http.answers import read_answer, read_failure
from aioproviders.sdk.statuses import retry_after

KEY = "abcd/efgh+canary"
mask = Redactor([KEY]).text


def response(content, kind="application/json", status=401):
    return httpx.Response(status, headers={"content-type": kind}, content=content)


@pytest.mark.parametrize(
    "text", [r'{"error": "bad key abcd\/efgh+canary"}', r'{"error": "bad key \u0061bcd/efgh+canary"}']
)
def test_a_secret_behind_json_escapes_is_masked(text):
    """A service that repeats our key with JSON's escapes does not get it past the mask."""
    assert read_failure(response(text.encode()), mask).data == {"error": f"bad key {MASK}"}


@pytest.mark.parametrize("before", range(65_520, 65_537))
def test_half_a_secret_at_the_cut_is_not_shown(before):
    """Where a long failure is cut, what may be half a secret goes, too."""
    text = "x" * before + KEY + "y" * 10_000
    data = read_failure(response(text.encode(), "text/plain"), mask).data
    assert set(data) <= set("x" + MASK)


@pytest.mark.parametrize("codec", ["zlib", "bz2", "hex", "no-such-codec"])
def test_a_charset_that_is_none_is_not_used(codec):
    """A codec that is no encoding of text (zlib would unpack a bomb) is not tried: it is read as UTF-8."""
    content = zlib.compress(b"x" * 1_000_000)
    answer = read_answer(response(content, f"text/plain; charset={codec}", 200), "GET /")
    assert answer.data == content.decode("utf-8", "replace")


def test_retry_after_without_a_zone_is_gmt(monkeypatch):
    """A date of the old asctime form is GMT wherever we are (RFC 9110, 5.6.7)."""
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        headers = {"retry-after": "Sun Nov  6 08:50:14 1994", "date": "Sun, 06 Nov 1994 08:49:37 GMT"}
        assert retry_after(headers) == 37
    finally:
        monkeypatch.undo()
        time.tzset()


def test_retry_after_of_many_digits_is_very_long():
    """A number too large to mean anything is not read as no wait at all."""
    assert retry_after({"retry-after": "9" * 5000}) == 1e9


async def test_a_tried_credential_is_not_replaced_by_the_client_s(fault_server):
    """A client with its own credentials can't make wrong ones look right."""
    async with httpx.AsyncClient(auth=("user", "pass")) as client:
        config = HTTPSDKConfig(
            name="api",
            version="1",
            api_endpoint=fault_server.url,
            auth_check_path="/basic?user=user&password=pass",
        )
        async with HTTPSDKProvider(config, client=client) as provider:
            assert not await provider.authenticate({"username": "user", "password": "wrong"})
            assert await provider.authenticate({"username": "user", "password": "pass"})
