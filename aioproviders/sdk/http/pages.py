"""From one page of a collection to the next: by Link header, by cursor, by page number."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import httpx

from aioproviders.errors import RequestError
from aioproviders.sdk.http.drafts import InvalidRequestError, origin

__all__ = ["Pages", "PagingStyle", "next_link"]

PagingStyle = Literal["link", "cursor", "page"]

_STYLES = ("link", "cursor", "page")
_USUAL = ("items", "data", "results")
_PARAMETER = r"""\s*;\s*[^\s=;,"]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s;,"]*))?"""
_LINK = re.compile(rf"<([^<>]*)>((?:{_PARAMETER})*)")
_PARAMETERS = re.compile(r""";\s*([^\s=;,"]+)(?:\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?""")


@dataclass(slots=True)
class Pages:
    """The rules of one collection, and where we are in it.

    Attributes:
        url: Of the page at hand.
        style: How the next page is found.
        items: Where in a page the items are, names joined with dots; None: see `items_of`.
        cursor_field: Where in a page the next cursor is, likewise.
        cursor_param: Query parameter that takes it.
        page_param: Query parameter that takes the page's number.
        number: Of the page at hand.
    """

    url: httpx.URL
    style: PagingStyle
    items: str | None
    cursor_field: str
    cursor_param: str
    page_param: str
    number: int
    _seen: set[bytes] = field(default_factory=set)

    def __post_init__(self) -> None:
        if self.style not in _STYLES:
            raise InvalidRequestError(f"style should be one of {', '.join(_STYLES)}")
        if self.style == "page":
            self.url = self.url.copy_set_param(self.page_param, self.number)
        self._seen.add(self.url.raw_path)

    def items_of(self, page: Any) -> list[Any]:
        """Return a page's items: the page itself if it is a list, else what `items` or a usual name leads to.

        Raises:
            RequestError: There is no list.
        """
        if self.items is not None:
            found = _at(page, self.items)
        elif isinstance(page, Mapping):
            found = next((page[name] for name in _USUAL if isinstance(page.get(name), list)), None)
        else:
            found = page
        if not isinstance(found, list):
            where = self.items or f"the page itself or one of {', '.join(_USUAL)}"
            raise RequestError(
                f"page {len(self._seen)} has no list of items: looked for {where}; say where in items"
            )
        return found

    def turn(self, page: Any, count: int, headers: Mapping[str, str]) -> bool:
        """Go to the next page; False if there is none.

        Args:
            page: The one at hand.
            count: How many items it had.
            headers: It came with these.

        Raises:
            RequestError: The next page is at another origin, or is one that we have seen.
        """
        if self.style == "link":
            link = next_link(headers.get("link", ""))
            if link is None:
                return False
            url = _join(self.url, link)
        elif self.style == "cursor":
            cursor = _at(page, self.cursor_field)
            if cursor is None or cursor is False or cursor == "":
                return False
            url = self.url.copy_set_param(self.cursor_param, cursor)
        elif count:
            self.number += 1
            url = self.url.copy_set_param(self.page_param, self.number)
        else:
            return False
        if url.raw_path in self._seen:  # the origin is the same for all
            raise RequestError("the next page is one that was seen before: the pages go round in a circle")
        self._seen.add(url.raw_path)
        self.url = url
        return True


def next_link(header: str) -> str | None:
    """Return the target of the link with relation "next" (RFC 8288, 3); relative ones as they are."""
    for target, parameters in _LINK.findall(header):
        values: dict[str, str] = {}
        for name, quoted, plain in _PARAMETERS.findall(parameters):
            values.setdefault(name.lower(), quoted or plain)  # the first one counts
        # With an anchor it is about another page than this one.
        if "next" in values.get("rel", "").lower().split() and "anchor" not in values:
            return str(target)
    return None


def _join(base: httpx.URL, link: str) -> httpx.URL:
    try:
        url = base.join(link).copy_with(fragment=None)
    except httpx.InvalidURL:
        raise RequestError("the link to the next page is no valid URL") from None
    if origin(url) != origin(base) or url.userinfo:
        where = f"{url.scheme}://{url.netloc.decode('ascii')}"
        raise RequestError(f"the link to the next page leads to another origin, {where}, and is not followed")
    return url


def _at(page: Any, path: str) -> Any:
    for name in path.split("."):
        if not isinstance(page, Mapping):
            return None
        page = page.get(name)
    return page
