"""What a response says: its data, its headers, and what it tells about a failure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx
from pydantic_core import from_json

from aioproviders.errors import RequestError
from aioproviders.sdk.http.messages import fields_of

__all__ = ["Answer", "excerpt", "read_answer", "read_failure"]

_TEXT = re.compile(
    r"text/|application/(?:.+\+)?(?:xml|yaml|javascript|x-www-form-urlencoded|graphql)\b", re.IGNORECASE
)
_JSON = re.compile(r"[\w.\-]+/(?:[\w.\-]+\+)?json\b", re.IGNORECASE)
_MOST_OF_A_FAILURE = 65_536  # characters
_LONGEST_SECRET = 4096  # characters
_MOST_OF_AN_EXCERPT = 200


@dataclass(slots=True)
class Answer:
    """A response, read.

    Attributes:
        status: HTTP status.
        headers: By name in lower case; repeated ones joined with commas.
        data: JSON parsed; text for textual types; else bytes; None where there was no body.
    """

    status: int
    headers: Mapping[str, str]
    data: Any

    @property
    def request_id(self) -> str | None:
        """The service's own id of the request."""
        return self.headers.get("x-request-id") or self.headers.get("request-id") or None


def read_answer(response: httpx.Response, what: object) -> Answer:
    """Read a success.

    Args:
        response: With its body read.
        what: The request, whose text is for the message.

    Raises:
        RequestError: It says that it is JSON, and is not.
    """
    content = response.content
    headers = fields_of(response)
    kind = headers.get("content-type", "")
    data: Any
    if not content:
        data = None
    elif _JSON.match(kind):
        try:
            data = from_json(content)
        except ValueError as exc:
            raise RequestError(
                f"{what} was answered {response.status_code} with what is no valid JSON: {exc}",
                status_code=response.status_code,
            ) from None
    elif _TEXT.match(kind):
        data = _text(response)
    else:
        data = content
    return Answer(response.status_code, headers, data)


def read_failure(response: httpx.Response, mask: Callable[[str], str]) -> Answer:
    """Read a failure as far as it goes: at most its first 64 Ki characters, secrets masked.

    Args:
        response: With its body read.
        mask: Masks what the service repeats of our secrets.
    """
    headers = {name: mask(value) for name, value in fields_of(response).items()}
    kind = headers.get("content-type", "")
    data: Any = None
    if response.content and (not kind or _JSON.match(kind) or _TEXT.match(kind)):
        text = _text(response)
        if len(text) > _MOST_OF_A_FAILURE:
            # The end may be half a secret, which is not recognized.
            data = mask(text[: _MOST_OF_A_FAILURE + _LONGEST_SECRET])[:-_LONGEST_SECRET]
        else:
            data = mask(text)
        if not _TEXT.match(kind):
            with suppress(ValueError):
                # Escapes may have hidden a secret in the text.
                data = _masked(from_json(data), mask)
    return Answer(response.status_code, headers, data)


def _text(response: httpx.Response) -> str:
    try:
        return response.content.decode(response.charset_encoding or "utf-8", "replace")
    except LookupError:
        # No encoding of text: unknown, or a codec like zlib, which would unpack what was never bounded.
        return response.content.decode("utf-8", "replace")


def _masked(data: Any, mask: Callable[[str], str]) -> Any:
    if isinstance(data, str):
        return mask(data)
    if isinstance(data, dict):
        return {mask(key): _masked(item, mask) for key, item in data.items()}
    return [_masked(item, mask) for item in data] if isinstance(data, list) else data


def excerpt(answer: Answer) -> str:
    """Return in a few words what the service says went wrong; "" where it says nothing.

    It knows problem details (RFC 9457), OAuth's errors (RFC 6749, 5.2) and the usual fields.
    """
    data = answer.data
    if isinstance(data, Mapping):
        inner = data.get("error")
        fields = [data.get(name) for name in ("title", "detail")]
        if isinstance(inner, Mapping):
            fields += [inner.get(name) for name in ("code", "type", "message")]
        else:
            fields.append(inner)
        fields += [data.get(name) for name in ("error_description", "message")]
        text = ": ".join(dict.fromkeys(field for field in fields if isinstance(field, str) and field))
    elif isinstance(data, str) and "html" not in answer.headers.get("content-type", ""):
        text = data
    else:
        text = ""
    text = " ".join("".join(char if char.isprintable() else " " for char in text[:1000]).split())
    return text if len(text) <= _MOST_OF_AN_EXCERPT else text[: _MOST_OF_AN_EXCERPT - 1] + "…"
