"""HTTP with deadlines: the meaning of a failure, and whether to try again."""

from __future__ import annotations

import re
import ssl
import time
from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import requests

from edgeimg.errors import FetchError
from edgeimg.fetch.session import PATIENCE, RATE, Deadline, Session

TIMEOUT = (10.0, 30.0)
"""Seconds to connect, and between two bytes."""
TRIES = 4
"""Attempts at one URL while the failure looks temporary."""
BACKOFF = 0.5
"""Seconds before the second try; doubled for each further one."""
BLOCK = 1 << 16
_UNCLEAR = "the server's answer cannot be understood"
HINT_NETWORK = "check the network or proxy (HTTPS_PROXY), or name a mirror with EDGEIMG_MIRROR"

_TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
_LENGTH = re.compile(r"[0-9]{1,15}")
_HEADERS = {"User-Agent": "edgeimg", "Accept-Encoding": "identity"}


class TemporaryError(Exception):
    """A failure after which the same URL may work, after `wait` seconds if the server set them."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


class GoneError(Exception):
    """This URL does not have the file. Another one may have it."""


class UnusableError(GoneError):
    """This server is too slow or sends an invalid response. Another one may work."""


NETWORK = (requests.RequestException, ConnectionError, TimeoutError, ssl.SSLError)
"""Errors while a response is read. Another try may work."""


def read(urls: Sequence[str], *, limit: int, name: str) -> bytes:
    """The body of the first URL that answers, at most `limit` bytes: for indexes, unverified.

    Raises FetchError when none does.
    """
    reasons: list[str] = []
    with Session() as session:
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


def put(url: str, data: bytes, *, name: str) -> None:
    """Store `data` at a URL. `name` is that of the data in errors.

    Tried again while the failure looks temporary. Raises FetchError.
    """
    for attempt in range(TRIES):
        try:
            with Session() as session, session.deadline():
                answer = session.put(
                    url, data=data, headers=_HEADERS, timeout=TIMEOUT, allow_redirects=False,
                )  # fmt: skip
                answer.close()
        except Exception as error:  # whatever it answers
            reason = plain(error)
        else:
            if answer.status_code in (200, 201, 202, 204):
                return
            reason = f"HTTP status {answer.status_code}"
            if answer.status_code not in _TEMPORARY:
                break
        time.sleep(BACKOFF * 2**attempt)
    raise FetchError(f"cannot store {name} at {url}: {reason}", hint=HINT_NETWORK)


def _body(session: Session, url: str, limit: int) -> bytes:
    data = bytearray()
    with session.deadline() as deadline, get(session, url, 0, deadline) as response:
        for block in blocks(response, deadline):
            data += block
            if len(data) > limit:
                raise GoneError(f"larger than {limit} bytes")
    return bytes(data)


def probe_size(url: str, *, timeout: float = 4.0) -> int | None:
    """Content-Length of a URL in bytes; None without an answer within `timeout` seconds."""
    try:
        with Session() as session, session.deadline(timeout) as deadline:
            answer = session.head(url, timeout=timeout, allow_redirects=True, headers=_HEADERS)
            length = _number(answer.headers.get("Content-Length", ""))
            return length or None if answer.ok and not deadline.expired else None
    except Exception:  # whatever it answers
        return None


def get(session: Session, url: str, start: int, deadline: Deadline) -> requests.Response:
    """Request the bytes of `url` from `start` on. Status 206 means that the server resumes there.

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
    except NETWORK as error:
        raise _slow() if deadline.expired else error from error
    except Exception as error:  # whatever it answers: no other server is to blame for it
        raise UnusableError(_UNCLEAR) from error
    status = response.status_code
    if not _LENGTH.fullmatch(response.headers.get("Content-Length", "0").strip()):
        response.close()
        raise UnusableError(_UNCLEAR)
    if status == 200 or (status == 206 and _continues(response, start)):
        return response
    response.close()
    if status in _TEMPORARY:
        wait = min(float(_number(response.headers.get("Retry-After", ""))), 30.0)
        raise TemporaryError(f"{status} {response.reason}", wait)
    if start and status in (206, 416):  # the server cannot resume this part: request all of it
        return get(session, url, 0, deadline)
    raise GoneError(f"{status} {response.reason}")


def blocks(response: requests.Response, deadline: Deadline) -> Iterator[bytes]:
    """The body. Raises GoneError when it comes too slowly or is garbled, or one of NETWORK."""
    try:
        for block in response.iter_content(BLOCK):
            deadline.earn(len(block))
            yield block
    except NETWORK as error:
        raise _slow() if deadline.expired else error from error
    except Exception as error:
        raise UnusableError(_UNCLEAR) from error
    if deadline.expired:  # a body without a length just ends
        raise _slow()


def _slow() -> UnusableError:
    return UnusableError(f"slower than {RATE / 1024:.0f} KiB/s for {PATIENCE:.0f} s")


def _number(text: str) -> int:
    """A header's decimal number; 0 for other text."""
    return int(text) if _LENGTH.fullmatch(text) else 0


def _continues(response: requests.Response, start: int) -> bool:
    content_range = response.headers.get("Content-Range", "")
    return start > 0 and content_range.replace(" ", "").startswith(f"bytes{start}-")


def has_credentials(url: str) -> bool:
    """Whether an address contains a name or a password. Messages would show them."""
    return "@" in urlsplit(url).netloc


def plain(error: Exception) -> str:
    """The network error in a few words, without Python's object names."""
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
