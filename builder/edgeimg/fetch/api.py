"""Requests to a server's programming interface: one at a time, bounded in time and bytes."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

import requests

from edgeimg.errors import FetchError
from edgeimg.fetch.http import (
    BACKOFF,
    NETWORK,
    TIMEOUT,
    TRIES,
    GoneError,
    blocks,
    plain,
)
from edgeimg.fetch.session import Session

MAX_BYTES = 16 << 20
"""Of an answer."""
_TEMPORARY = {429, 502, 503, 504}
HINT = "check the address, the network and the proxy (HTTPS_PROXY)"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a server answers: any HTTP status, and at most MAX_BYTES bytes."""

    status: int
    body: bytes


def _as_given(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Authentication that leaves the headers alone: without any, requests reads ~/.netrc."""
    return request


class Api:
    """A server at `base`, whose requests carry a name and a password (RFC 7617).

    Redirections are not followed: they would carry the password elsewhere.
    """

    def __init__(self, base: str, user: str, password: str) -> None:
        self.base = base.rstrip("/")
        login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self._headers = {
            "User-Agent": "edgeimg",
            "Accept": "application/json",
            "Authorization": f"Basic {login}",
        }
        self._session = Session()

    def close(self) -> None:
        """Close all connections."""
        self._session.close()

    def call(
        self, method: str, path: str, *, query: Mapping[str, str | int] | None = None,
        body: bytes | None = None,
    ) -> Answer:  # fmt: skip
        """The answer to one request; a GET is repeated while the failure looks temporary.

        Raises FetchError without an answer.
        """
        url = f"{self.base}{path}{'?' + urlencode(query) if query else ''}"
        tries = TRIES if method == "GET" else 1
        for attempt in range(1, tries + 1):
            try:
                answer = self._once(method, url, body)
            except (GoneError, *NETWORK) as error:
                if attempt == tries:
                    raise FetchError(f"{self.base}: {plain(error)}", hint=HINT) from error
            else:
                if answer.status not in _TEMPORARY or attempt == tries:
                    return answer
            time.sleep(BACKOFF * 2 ** (attempt - 1))
        raise AssertionError("unreachable")

    def _once(self, method: str, url: str, body: bytes | None) -> Answer:
        headers = self._headers | ({"Content-Type": "application/json"} if body else {})
        data = bytearray()
        with self._session.deadline() as deadline:
            try:
                response = self._session.request(
                    method, url, data=body, headers=headers, auth=_as_given, timeout=TIMEOUT,
                    stream=True, allow_redirects=False,
                )  # fmt: skip
            except NETWORK:
                raise
            except Exception as error:  # whatever it answers
                raise GoneError("the server's answer cannot be understood") from error
            with response:
                for block in blocks(response, deadline):
                    data += block
                    if len(data) > MAX_BYTES:
                        raise GoneError(f"an answer of more than {MAX_BYTES} bytes")
        return Answer(status=response.status_code, body=bytes(data))
