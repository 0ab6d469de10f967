"""The demo service's Python client, as a vendor would ship one: synchronous, and not aware of this library.

The demo puts `aioproviders.sdk.python.PythonSDKProvider` around it.
"""

from __future__ import annotations

import http.client
import json
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

__all__ = ["Client", "ClientError"]


class ClientError(Exception):
    """The service refused; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Client:
    """The service.

    Args:
        endpoint: Where it is: ``http://host:port``.
        api_key: The key that it wants.
    """

    _TIMEOUT = 5.0

    def __init__(self, endpoint: str, api_key: str) -> None:
        self._host = urlsplit(endpoint).netloc
        self._headers = {"Authorization": f"Bearer {api_key}"}

    def request(self, path: str, item: dict[str, Any] | None = None) -> Any:
        """Get what is at `path`, or, with an `item`, post it there.

        Raises:
            ClientError: The service answers with a failure.
            OSError: It can't be reached.
        """
        connection = http.client.HTTPConnection(self._host, timeout=self._TIMEOUT)
        try:
            connection.request(
                "POST" if item else "GET",
                path,
                body=json.dumps(item) if item else None,
                headers=self._headers,
            )
            response = connection.getresponse()
            answer = json.load(response)
        finally:
            connection.close()
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise ClientError(response.status, answer["error"])
        return answer

    def ping(self) -> bool:
        """Tell whether the service is well."""
        return bool(self.request("/health")["status"] == "healthy")
