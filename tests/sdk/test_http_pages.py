"""Walking through a collection, page by page."""

import json

import pytest

from aioproviders.errors import NotFoundError, RequestError
from aioproviders.sdk.http.pages import next_link


def pages_of(*pages):
    """Answers with JSON bodies and maybe a Link header."""
    return [
        (
            200,
            {"Content-Type": "application/json", **({"Link": link} if link else {})},
            json.dumps(body).encode(),
        )
        for body, link in pages
    ]


async def collect(stream):
    return [item async for item in stream]


@pytest.mark.parametrize("style", ["link", "cursor", "page"])
async def test_all_items_of_all_pages(make_http, fault_server, style):
    """Each style leads through all pages, once each, parameters and credentials included."""
    provider = await make_http(api_key="k")
    items = await collect(provider.paginate("/pages", style=style, params={"style": style, "pages": 3}))
    assert items == [{"id": number} for number in range(6)]
    seen = await fault_server.requests()
    assert len(seen) == (4 if style == "page" else 3)
    assert {r.method for r in seen} == {"GET"}
    assert {r.header("authorization") for r in seen} == {"Bearer k"}
    assert all("pages=3" in r.target for r in seen)


async def test_each_page_has_its_own_attempts(make_http, fault_server, answer_with):
    """A page that fails for a moment is asked for again, the others are not."""
    first, second = pages_of(([1], '</b>; rel="next"'), ([2], None))
    server = await answer_with(first, (503, {}), (503, {}), second)
    provider = await make_http(api_endpoint=server.url, retry_attempts=3)
    assert await collect(provider.paginate("/a")) == [1, 2]
    assert len(server.seen) == 4


async def test_a_page_that_fails_is_raised(make_http):
    """A failed page raises the typed error, after the items that came before it."""
    provider = await make_http()
    with pytest.raises(NotFoundError) as caught:
        await collect(provider.paginate("/status/404"))
    assert caught.value.operation == "make_request"


@pytest.mark.parametrize(
    ("body", "options", "items"),
    [
        ([1, 2], {}, [1, 2]),
        ({"data": [1]}, {}, [1]),
        ({"results": [1]}, {}, [1]),
        ({"a": {"b": [1]}}, {"items": "a.b"}, [1]),
        ({"items": "no list", "results": [3]}, {}, [3]),
    ],
)
async def test_items_are_found(make_http, answer_with, body, options, items):
    """Items are the page itself, under a usual name, or where the caller says."""
    server = await answer_with(*pages_of((body, None)))
    assert await collect((await make_http(api_endpoint=server.url)).paginate("/", **options)) == items


@pytest.mark.parametrize(
    ("body", "options"), [({"rows": [1]}, {}), ({"rows": [1]}, {"items": "rows.x"}), ("text", {})]
)
async def test_page_without_items(make_http, answer_with, body, options):
    """A page without a list says where one was looked for."""
    server = await answer_with(*pages_of((body, None)))
    provider = await make_http(api_endpoint=server.url)
    with pytest.raises(
        RequestError, match=r"page 1 has no list of items: looked for .*say where in items"
    ) as caught:
        await collect(provider.paginate("/", **options))
    assert caught.value.provider == "api"


@pytest.mark.parametrize(
    "link",
    [
        "http://evil.example/next?token=abc",
        "//evil.example/",
        "http://u:p@evil.example/",
        "http://h:abc/",
        "http://[bad",
    ],
)
async def test_next_page_elsewhere_is_refused(make_http, answer_with, link):
    """A next page at another origin is not asked for: its address alone could carry things out."""
    other = await answer_with((200, {}))
    target = link.replace("evil.example", other.url.removeprefix("http://"))
    server = await answer_with(*pages_of(([1], f'<{target}>; rel="next"')))
    provider = await make_http(api_endpoint=server.url, api_key="k")
    with pytest.raises(RequestError, match="the link to the next page") as caught:
        await collect(provider.paginate("/"))
    assert len(server.seen) == 1
    assert other.seen == []
    assert "abc" not in str(caught.value)


async def test_pages_that_go_round(make_http, answer_with):
    """A next page that was seen before is an error, not an endless walk."""
    server = await answer_with(*pages_of(([1], '</b>; rel="next"'), ([2], '</>; rel="next"')))
    with pytest.raises(RequestError, match="go round in a circle"):
        await collect((await make_http(api_endpoint=server.url)).paginate("/"))
    assert len(server.seen) == 2


async def test_cursor_that_stays_the_same(make_http, answer_with):
    """A cursor that does not move on is noticed."""
    server = await answer_with(*pages_of(({"items": [1], "next_cursor": 5}, None)))
    with pytest.raises(RequestError, match="go round in a circle"):
        await collect((await make_http(api_endpoint=server.url)).paginate("/", style="cursor"))


@pytest.mark.parametrize("end", [{}, {"meta": None}, {"meta": {"after": ""}}, {"meta": {"after": None}}])
async def test_cursor_anywhere(make_http, answer_with, end):
    """The cursor's place and parameter are the caller's to say; missing or empty means the end."""
    first, last = {"items": [1], "meta": {"after": "x y"}}, {"items": [2], **end}
    server = await answer_with(*pages_of((first, None), (last, None)))
    provider = await make_http(api_endpoint=server.url)
    pages = provider.paginate(
        "/", style="cursor", cursor_field="meta.after", cursor_param="after", params={"q": 1}
    )
    assert await collect(pages) == [1, 2]
    assert server.seen[1].startswith("GET /?q=1&after=x+y ")


async def test_page_numbers(make_http, fault_server):
    """First number and parameter are the caller's to say."""
    provider = await make_http()
    pages = provider.paginate("/pages?pages=2", style="page", first_page=2)
    assert await collect(pages) == [{"id": 2}, {"id": 3}]
    assert [r.target for r in await fault_server.requests()] == [
        "/pages?pages=2&page=2",
        "/pages?pages=2&page=3",
    ]


async def test_max_pages_stops(make_http, fault_server):
    """The caller's bound ends the walk without an error."""
    provider = await make_http()
    assert len(await collect(provider.paginate("/pages?style=link&pages=9", max_pages=2))) == 4
    assert len(await fault_server.requests()) == 2


async def test_endless_collections_are_an_error(make_http, answer_with, monkeypatch):
    """Without a bound of the caller's, pages without end are told, never cut off in silence."""
    monkeypatch.setattr("aioproviders.sdk.http.provider._MOST_PAGES", 3)
    provider = await make_http()
    with pytest.raises(RequestError, match="more than 3 pages: say in max_pages"):
        await collect(provider.paginate("/pages?style=link&pages=9"))


async def test_leaving_early_asks_for_no_more(make_http, fault_server):
    """A page is asked for when its items are."""
    provider = await make_http()
    stream = provider.paginate("/pages?style=link")
    assert await anext(stream) == {"id": 0}
    await stream.aclose()
    assert len(await fault_server.requests()) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [({"style": "offset"}, "style should be one of"), ({"endpoint": "//x"}, "endpoint should")],
)
async def test_wrong_arguments_of_paginate(make_http, fault_server, arguments, said):
    """What can't work is one clear error before anything is sent."""
    provider = await make_http()
    with pytest.raises(RequestError, match=said):
        await collect(provider.paginate(**{"endpoint": "/pages", **arguments}))
    assert await fault_server.requests() == []


@pytest.mark.parametrize(
    ("header", "link"),
    [
        ("", None),
        ('</b>; rel="next"', "/b"),
        ("</b>;rel=next", "/b"),
        ('</a>; rel="prev", </b>; REL="NEXT"', "/b"),
        ('</a,b>; title="x, </y>; rel=\\"next\\""; rel="prev next"', "/a,b"),
        ('</b>; rel="last"; rel="next"', None),
        ('</b>; rel="next"; anchor="#x"', None),
        ("</b>; rel", None),
        ("garbage; rel=next", None),
        ("<>; rel=next", ""),
    ],
)
def test_link_header_is_read_as_the_rfc_says(header, link):
    """The target of relation "next", by the rules of RFC 8288."""
    assert next_link(header) == link


def test_link_header_is_read_in_linear_time():
    """A hostile header does not keep the loop busy."""
    assert next_link("<a>" + ' ; x="' * 20_000) is None
    assert next_link("<" * 50_000) is None
    assert next_link("<a>;" + " " * 50_000) is None
