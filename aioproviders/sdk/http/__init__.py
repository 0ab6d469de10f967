"""The driver ``sdk.http``: requests of an HTTP API, over one pooled client.

`provider` is where to start; `config` is what it is told. A request is put together by `drafts`,
sent by `exchange` (redirects, OAuth 2 from `oauth`, bounded reading), read by `answers`; `errors`
says what went wrong and whether to try again; `auth` knows who we are. `streams`, `pages` and
`openapi` serve one operation each. The client is made by `client`: an httpx one, by default
`pooled_client` on `transport`, which is aiohttp's wire (`connector`, `bodies`, `wire_errors`).
"""

from aioproviders.sdk.http.config import ApiKeyAuth, BasicAuth, BearerAuth, HTTPSDKConfig, OAuth2Auth
from aioproviders.sdk.http.provider import HTTPSDKProvider
from aioproviders.sdk.http.streams import ServerSentEvent

__all__ = [
    "ApiKeyAuth",
    "BasicAuth",
    "BearerAuth",
    "HTTPSDKConfig",
    "HTTPSDKProvider",
    "OAuth2Auth",
    "ServerSentEvent",
]
