"""HTTP with deadlines: what a failure means, and whether to try again."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Sequence

import requests

from edgeimg.errors import FetchError

TIMEOUT = (10.0, 30.0)
"""Seconds to connect, and between two bytes."""
TRIES = 4
"""Attempts at one URL while the failure looks temporary."""
BACKOFF = 0.5
"""Seconds before the second try; doubled for each further one."""
BLOCK = 1 << 16
HINT_NETWORK = "check the network or proxy (HTTPS_PROXY), or name a mirror with EDGEIMG_MIRROR"

_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
_HEADERS = {"User-Agent": "edgeimg", "Accept-Encoding": "identity"}


class TemporaryError(Exception):
    """Worth another try at the same URL, after `wait` seconds if the server asked for that."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class GoneError(Exception):
    """This URL does not have the file; another may."""


NETWORK = (requests.RequestException, ConnectionError, TimeoutError, ssl.SSLError)
"""What may surface while a response is read; worth another try."""


def read(urls: Sequence[str], *, limit: int, name: str) -> bytes:
    """The body of the first URL that answers, at most `limit` bytes: for indexes, unverified.

    Raises FetchError when none does.
    """
    reasons: list[str] = []
    with requests.Session() as session:
        for url in urls:
            for attempt in range(TRIES):
                try:
                    return _body(session, url, limit)
                except GoneError as error:
                    reasons.append(f"{url}: {error}")
                    break
                except (TemporaryError, *NETWORK) as error:
                    if attempt + 1 == TRIES:
                        reasons.append(f"{url}: {plain(error)}")
                    else:
                        time.sleep(BACKOFF * 2**attempt)
    raise FetchError("\n  ".join([f"cannot download {name}", *reasons]), hint=HINT_NETWORK)


def _body(session: requests.Session, url: str, limit: int) -> bytes:
    data = bytearray()
    with get(session, url, 0) as response:
        for block in response.iter_content(BLOCK):
            data += block
            if len(data) > limit:
                raise GoneError(f"larger than {limit} bytes")
    return bytes(data)


def probe_size(url: str, *, timeout: float = 4.0) -> int | None:
    """Content-Length of a URL in bytes, or None when it cannot be asked within `timeout` s."""
    try:
        with requests.head(url, timeout=timeout, allow_redirects=True, headers=_HEADERS) as answer:
            length = answer.headers.get("Content-Length", "")
            return int(length) if answer.ok and length.isdigit() and int(length) else None
    except NETWORK:
        return None


def get(session: requests.Session, url: str, start: int) -> requests.Response:
    """Ask for the bytes of `url` from `start` on; status 206 means that it does continue there.

    Raises GoneError, TemporaryError or one of NETWORK.
    """
    headers = _HEADERS | ({"Range": f"bytes={start}-"} if start else {})
    try:
        response = session.get(url, headers=headers, timeout=TIMEOUT, stream=True)
    except (
        requests.exceptions.InvalidURL,
        requests.exceptions.InvalidSchema,
        requests.exceptions.MissingSchema,
        requests.exceptions.SSLError,
        requests.TooManyRedirects,
    ) as error:
        raise GoneError(plain(error)) from error
    status = response.status_code
    if status == 200 or (status == 206 and _continues(response, start)):
        return response
    response.close()
    if status in _TEMPORARY:
        after = response.headers.get("Retry-After", "")
        wait = min(float(after), 30.0) if after.isdigit() else 0.0
        raise TemporaryError(f"{status} {response.reason}", wait)
    if start and status in (206, 416):  # the server cannot continue this part: ask for all of it
        return get(session, url, 0)
    raise GoneError(f"{status} {response.reason}")


def _continues(response: requests.Response, start: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return start > 0 and content_range.replace(" ", "").startswith(f"bytes{start}-")


def plain(error: Exception) -> str:
    """What went wrong on the network in a few words, without Python's object names."""
    text = str(error)
    if "NameResolution" in text or "getaddrinfo" in text:
        return "the host name cannot be resolved"
    if match := re.search(r"\[Errno -?\d+\] ([^'\")]+)", text):
        return match[1].strip().lower()
    if "timed out" in text or isinstance(error, requests.Timeout):
        return "timed out"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection ended early"
    return text.splitlines()[0][:200] if text else type(error).__name__
