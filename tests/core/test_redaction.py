"""Redaction: what is masked, and what is left alone."""

import base64
import json
import re
import traceback
from collections import deque, namedtuple
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretBytes, SecretStr

from aioproviders.errors import ProviderError, RequestError
from aioproviders.redaction import MASK, RedactedError, Redactor, describe, is_secret_key, secrets_in

CANARY = "c4n4ry-Zx9"
CANARIES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cs", "Zs", "Cc"]), min_size=4, max_size=24
).filter(lambda text: text.strip() == text and "*" not in text)
PLAIN = Redactor()


# Keys.


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "db_password",
        "dbPassword",
        "PASSWORD",
        "passwd",
        "passphrase",
        "pwd",
        "secret",
        "client_secret",
        "clientSecret",
        "token",
        "access_token",
        "accessToken",
        "accesstoken",
        "X-Auth-Token",
        "authorization",
        "Proxy-Authorization",
        "cookie",
        "Set-Cookie",
        "api_key",
        "apiKey",
        "api-key",
        "X-API-Key",
        "private_key",
        "credentials",
        "aws_secret_access_key",
        "AWS_SECRET_ACCESS_KEY",
        "tokens",
        "bearer",
    ],
)
def test_secret_keys(key):
    """Names that are usual for secrets are taken for such, however they are written."""
    assert is_secret_key(key)


@pytest.mark.parametrize(
    "key",
    [
        "name",
        "key",
        "tokenizer",
        "tokenized",
        "secretary",
        "author",
        "monkey",
        "keyboard",
        "cookiecutter",
        "public_key",
        "compass",
        "bypass",
        5,
        None,
        ("password",),
    ],
)
def test_innocent_keys(key):
    """Words that only look similar are none."""
    assert not is_secret_key(key)


@pytest.mark.parametrize(
    ("entry", "shown"),
    [
        ({"max_tokens": 5}, 5),
        ({"token_count": 7}, 7),
        ({"tokens": 3.5}, 3.5),
        ({"password_set": True}, True),
        ({"password": None}, None),
        ({"token_ttl": timedelta(1)}, timedelta(1)),
        ({"token_expires_at": datetime(2024, 1, 1, tzinfo=UTC)}, datetime(2024, 1, 1, tzinfo=UTC)),
        ({"tokenizer": "fast"}, "fast"),
        ({"password": 123456}, MASK),
        ({"dbPassword": 123456}, MASK),
        ({"api_key": UUID(int=5)}, MASK),
        ({"token": ["a", "b"]}, MASK),
        ({"password": b"raw"}, MASK),
        ({"secret": {"deep": "x"}}, MASK),
    ],
)
def test_values_under_secret_keys(entry, shown):
    """Under a secret's name all is masked but counts, limits, times, flags and nothing."""
    assert next(iter(PLAIN.value(entry).values())) == shown


# Shapes.


@pytest.mark.parametrize(
    "text",
    [
        f"https://user:{CANARY}@host/path",
        f"https://{CANARY}@host",
        f"postgres://u:a@{CANARY}@host:5432/db",
        f"amqp://u:{CANARY}'s@host",
        f"see https://h/p?a=1&token={CANARY}&b=2",
        f"https://h/?api_key={CANARY}",
        f"https://h/?sig={CANARY}",
        f"https://h/?X-Amz-Signature={CANARY}",
        f"https://h/?X-Amz-Credential={CANARY}",
        f"Authorization: Bearer {CANARY}",
        "Authorization: Bearer abcd",
        f"authorization: Token {CANARY}",
        f"Authorization: AWS4-HMAC-SHA256 Credential=x, Signature={CANARY}",
        f"{{'Authorization': 'Bearer {CANARY}', 'Accept': 'x'}}",
        f'{{"authorization":"{CANARY}"}}',
        f"bearer {CANARY}",
        f"Basic {base64.b64encode(CANARY.encode()).decode()}",
        f"Cookie: a=1; sid={CANARY}; c=3",
        f"set-cookie: sid={CANARY}; Path=/",
        f"x-api-key: {CANARY}",
        f"{{'password': '{CANARY}'}}",
        f'bad settings: {{"db": {{"client_secret": "{CANARY}"}}}}',
        f"{{'token': \"{CANARY}'s\"}}",
        f"{{'api_key': b'{CANARY}'}}",
    ],
)
def test_credentials_by_their_shape(text):
    """Credentials in URLs, query strings, headers and printed settings are masked without being known."""
    shown = PLAIN.text(text)
    assert CANARY not in shown
    assert "abcd" not in shown
    assert MASK in shown


@pytest.mark.parametrize(
    "text",
    [
        "max_tokens: 5",
        "tokenizer: fast",
        "basic authentication failed",
        "the bearer of bad news",
        "Digest mismatch",
        "negotiate versions",
        "https://example.com/a@b",
        "https://example.com/?keyword=x&author=me&design=new&passenger=2",
        "mail a@b.c about https://example.com",
        "key=value; count=5",
        "secret santa",
        '{"name": "x", "key": "y"}',
        "3 of 4 attempts",
        "",
    ],
)
def test_innocent_text_is_left_alone(text):
    """What only resembles a credential stays readable."""
    assert PLAIN.text(text) == text


def test_what_surrounds_a_credential_stays():
    """Only the credential goes."""
    assert PLAIN.text(f"GET https://u:{CANARY}@h:80/p?x=1&token=abcdef failed") == (
        f"GET https://{MASK}@h:80/p?x=1&token={MASK} failed"
    )


# Known secrets.


@pytest.mark.parametrize(
    "form",
    [
        str,
        lambda s: quote(s, safe=""),
        json.dumps,
        repr,
        lambda s: base64.b64encode(s.encode()).decode(),
    ],
)
def test_known_secrets_in_every_form(form):
    """A known secret is masked as it is, URL-quoted, in JSON, in a repr and in base64."""
    secret = 'p/"ä s\\w&rd'
    shown = Redactor([secret]).text(f"it was {form(secret)}, really")
    assert shown in (f"it was {MASK}, really", f'it was "{MASK}", really', f"it was '{MASK}', really")


def test_longer_secrets_go_first():
    """A secret that contains another is masked whole."""
    assert Redactor(["abcdef", "abcdefghi"]).text("abcdefghi") == MASK


def test_short_secrets_are_masked_where_they_stand_alone():
    """A secret of under four characters is masked as a word, not within others."""
    assert Redactor(["pin"]).text("pin opinion") == f"{MASK} opinion"


def test_blank_secrets_are_ignored():
    """An empty or blank secret masks nothing."""
    redactor = Redactor(["", "  "])
    assert redactor.text("a  b") == "a  b"
    assert repr(redactor) == "Redactor(0 secrets)"


def test_secrets_can_be_added():
    """What is learnt later is masked from then on."""
    redactor = Redactor(["first-one"])
    assert redactor.text("second-one") == "second-one"
    redactor.add("second-one", "second-one")
    assert redactor.text("first-one second-one") == f"{MASK} {MASK}"
    assert repr(redactor) == "Redactor(2 secrets)"


def test_secrets_that_come_and_go_are_bounded():
    """Of fetched tokens the latest 16 are known, so that years of them fill no memory."""
    redactor = Redactor(["from-config"])
    for number in range(100):
        redactor.add("in-steady-use", f"token-number-{number:03}")
    assert repr(redactor) == "Redactor(17 secrets)"
    shown = redactor.text("from-config in-steady-use token-number-099 token-number-085 token-number-084")
    assert shown == f"{MASK} {MASK} {MASK} {MASK} token-number-084"


def test_secrets_that_come_and_go_compile_nothing(monkeypatch):
    """The pattern of the config's secrets is compiled once; fetched tokens need none."""
    redactor = Redactor(["from-config"])
    monkeypatch.setattr(re, "compile", None)
    redactor.add("a/token")
    assert redactor.text("from-config a%2Ftoken") == f"{MASK} {MASK}"


@pytest.mark.parametrize(
    ("known", "passing"),
    [("abcdef", ["abcdefghi"]), ("abcdefghi", ["abcdef"]), ("unrelated", ["abcdef", "abcdefghi"])],
)
def test_longer_secrets_go_first_wherever_they_are_from(known, passing):
    """A secret that contains another is masked whole, be it from the config or added."""
    redactor = Redactor([known])
    redactor.add(*passing)
    assert redactor.text("abcdefghi") == MASK


def test_short_secrets_that_come_and_go():
    """They, too, are masked as words only."""
    redactor = Redactor()
    redactor.add("pin")
    assert redactor.text("pin opinion") == f"{MASK} opinion"


class Model(BaseModel):
    name: str = "model"
    api_key: SecretStr | None = None
    extra: object = None


@dataclass
class Record:
    user: str
    password: str


Pair = namedtuple("Pair", "user password")  # noqa: PYI024 - as users write them
NESTINGS = [
    lambda x: {"a": x},
    lambda x: {x if isinstance(x, str) else "k": 1, "v": x},
    lambda x: [x],
    lambda x: (1, x),
    lambda x: {"list": [{"deep": x}]},
    lambda x: deque([x]),
    lambda x: {"v": x}.values(),
    lambda x: {x} if isinstance(x, str) else [x],
    lambda x: Model(extra=x),
    lambda x: Record(user="u", password=x),
    lambda x: Record(user=x, password="p"),
    lambda x: Pair("u", x),
    ValueError,
    lambda x: SecretStr(x) if isinstance(x, str) else x,
    lambda x: x.encode() if isinstance(x, str) else x,
    lambda x: {"password": x},
    lambda x: f"<{x}>" if isinstance(x, str) else x,
    lambda x: Path("/") / x.replace("\0", "") if isinstance(x, str) else x,
]


@given(canary=CANARIES, how=st.lists(st.sampled_from(NESTINGS), max_size=5))
def test_no_known_secret_gets_through_any_nesting(canary, how):
    """Wherever in a nested value a known secret stands, it is not in what comes out."""
    value = canary
    for nest in how:
        value = nest(value)
    shown = Redactor([canary]).value({"x": value})
    # The framework's own words are no leak.
    assert canary not in json.dumps(shown, ensure_ascii=False, default=repr).replace(MASK, "").replace(
        '"', ""
    ) or canary in json.dumps(PLAIN.value(_innocent(how)), default=repr, ensure_ascii=False).replace('"', "")


def _innocent(how):
    value = "@@"
    for nest in how:
        value = nest(value)
    return {"x": value}


@given(canary=CANARIES.filter(str.isalnum), key=st.sampled_from(["password", "apiKey", "X-Auth-Token"]))
def test_no_unknown_secret_gets_through_under_a_secret_key(canary, key):
    """A value under a secret's name is masked in every container that has names."""
    canary += "§"
    for value in ({key: canary}, {"a": [{key: [canary]}]}, Record("u", canary), [Pair("u", canary)]):
        assert canary not in repr(PLAIN.value(value))


def test_values_become_plain():
    """Models, exceptions, bytes, ids and sets come out as plain data."""
    value = {"m": Model(), "e": KeyError("x"), "b": b"\xff", "u": UUID(int=1), "s": {1}, 3: None, "t": Model}
    assert PLAIN.value(value) == {
        "m": {"name": "model", "api_key": None, "extra": None},
        "e": "KeyError: 'x'",
        "b": "\\xff",
        "u": str(UUID(int=1)),
        "s": [1],
        "3": None,
        "t": repr(Model),
    }


def test_endless_structures_end():
    """A value that contains itself is cut off."""
    loop = []
    loop.append(loop)
    assert PLAIN.value(loop) == ["…"]


def test_back_references_end_at_the_first_repeat():
    """Children that know their parent cost no more than themselves."""
    root = {}
    root["nodes"] = [{"cluster": root, "number": number} for number in range(100)]
    assert PLAIN.value(root)["nodes"] == [{"cluster": "…", "number": number} for number in range(100)]


def test_what_is_shared_is_no_repeat():
    """A value at two places that are not inside of each other is shown at both."""
    shared = {"a": 1}
    assert PLAIN.value([shared, shared]) == [shared, shared]


def test_large_structures_are_cut_off():
    """A value with millions of items, at one level or through many, is cut off after 10,000."""
    cut = PLAIN.value({"rows": [1] * 20_000, "more": {"a": 1}})
    assert cut == {"rows": [*[1] * 9_999, "…"], "…": "…"}
    level = "leaf"
    for _ in range(10):
        level = [level] * 10
    assert json.dumps(PLAIN.value(level)).count("leaf") < 10_000


# What is secret in a config.


def test_secrets_in_a_config():
    """SecretStr values, passwords in URLs and strings under secret keys are collected."""

    class Config(BaseModel):
        key: SecretStr = SecretStr("k1")
        raw: SecretBytes = SecretBytes(b"k2")
        url: str = "https://user:p%40ss@host"
        token_url: str = "https://host/token"
        bare: str = "https://k3@host"
        nested: dict[str, object] = {"password": "k4", "items": [{"token": ["k5"]}], "name": "x"}
        quoted: str = "amqp://u:k'6@h"

    assert secrets_in(Config()) == {"k1", "k2", "p%40ss", "p@ss", "k3", "k4", "k5", "k'6"}


# Exceptions.


def raised(error, cause=None, context=None):
    try:
        try:
            if context is not None:
                raise context
        finally:
            if cause is not None:
                raise error from cause
            raise error
    except BaseException as exc:
        return exc


def printed(error):
    return "".join(traceback.format_exception(error))


def noted(error):
    error.add_note(f"note with {CANARY}")
    return error


class WeirdError(Exception):
    def __str__(self):
        return "harmless"

    def __repr__(self):
        return f"WeirdError({CANARY})"


@pytest.mark.parametrize(
    "link",
    [
        lambda: ValueError(CANARY),
        lambda: raised(ValueError("outer"), cause=KeyError(CANARY)),
        lambda: raised(ValueError("outer"), context=KeyError(CANARY)),
        lambda: noted(ValueError("x")),
        WeirdError,
        lambda: ExceptionGroup("group", [ValueError(CANARY), KeyError("y")]),
        lambda: ExceptionGroup(CANARY, [KeyError("y")]),
        lambda: noted(ExceptionGroup("group", [KeyError("y")])),
        lambda: ExceptionGroup("group", [raised(ValueError("x"), cause=KeyError(CANARY))]),
        lambda: ExceptionGroup("a", [ExceptionGroup("b", [ValueError(CANARY)])]),
        lambda: RequestError(f"said {CANARY}"),
        lambda: noted(RequestError("x")),
        lambda: raised(RequestError("x"), cause=ValueError(CANARY)),
    ],
)
@pytest.mark.parametrize("how", ["cause", "context"])
def test_chains_are_scrubbed(link, how):
    """No secret is left in causes, contexts, notes, groups and the chains of their members."""
    error = raised(ProviderError("top"), **{how: link()})
    Redactor([CANARY]).scrub(error)
    seen = printed(error)
    assert CANARY not in seen
    assert "top" in seen
    chained = error.__cause__ or error.__context__
    assert chained.__traceback__ is not None or not isinstance(chained, ValueError)


def test_the_error_itself_is_scrubbed():
    """Message, arguments and notes of the error are masked, too."""
    error = noted(ProviderError(f"about {CANARY}"))
    Redactor([CANARY]).scrub(error)
    assert (error.message, error.args) == (f"about {MASK}", (f"about {MASK}",))
    assert CANARY not in printed(error)


def test_errors_of_ours_keep_their_type_in_a_chain():
    """An error of ours further in is mended, not replaced."""
    inner = RequestError(f"said {CANARY}", status_code=503)
    error = raised(ProviderError("top"), cause=inner)
    Redactor([CANARY]).scrub(error)
    assert error.__cause__ is inner
    assert (inner.message, inner.status_code) == (f"said {MASK}", 503)


def test_innocent_chains_are_left_alone():
    """Exceptions that show no secret stay the very same."""
    root = KeyError("x")
    group = ExceptionGroup("g", [root])
    error = raised(ProviderError("top"), cause=group)
    Redactor([CANARY]).scrub(error)
    assert error.__cause__ is group
    assert group.exceptions == (root,)


def test_a_stand_in_tells_what_it_stands_for():
    """The type's name, the text and the traceback of a replaced exception are kept."""
    cause = raised(ValueError(f"with {CANARY} inside"))
    error = raised(ProviderError("top"), cause=cause)
    Redactor([CANARY]).scrub(error)
    stand_in = error.__cause__
    assert (type(stand_in), str(stand_in)) == (RedactedError, f"ValueError: with {MASK} inside")
    assert stand_in.__traceback__ is cause.__traceback__


def test_circular_chains_end():
    """Exceptions that are chained in a circle are scrubbed all the same."""
    first, second = ValueError(CANARY), KeyError(CANARY)
    first.__cause__, second.__cause__ = second, first
    error = ProviderError("top")
    error.__cause__ = first
    Redactor([CANARY]).scrub(error)
    assert CANARY not in printed(error)


def test_describe():
    """An exception in a line: its type and text, or its type alone."""
    assert describe(ValueError("x")) == "ValueError: x"
    assert describe(ValueError()) == "ValueError"
