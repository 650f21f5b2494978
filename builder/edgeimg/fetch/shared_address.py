"""Where the shared build cache is: two variables of the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from edgeimg.errors import HostError
from edgeimg.fetch.http import has_credentials

VARIABLE, WRITE = "EDGEIMG_REMOTE_CACHE", "EDGEIMG_REMOTE_CACHE_WRITE"


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the shared cache is, and whether this host may write to it."""

    url: str
    """Without `/` at its end."""
    writes: bool

    @property
    def name(self) -> str:
        """Host and path, for messages."""
        parts = urlsplit(self.url)
        return f"{parts.netloc}{parts.path}"


def address(environment: Mapping[str, str]) -> Address | None:
    """The shared cache that the environment names; None without one. Raises HostError."""
    url = environment.get(VARIABLE, "").strip().rstrip("/")
    write = environment.get(WRITE, "").strip()
    if write not in ("", "0", "1"):
        raise HostError(f"{WRITE} is neither 1 nor 0", hint=f"unset it, or set {WRITE}=1")
    if not url:
        return None
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url or parts.query or parts.fragment or re.search(r"[\s\x00-\x1f\x7f]", url):
        raise HostError(
            f"{VARIABLE} is not the address of an HTTP cache",
            hint=f"set {VARIABLE}=https://HOST/PATH, or unset it",
        )
    if has_credentials(url):
        raise HostError(
            f"{VARIABLE} contains a name or a password",
            hint="write them to ~/.netrc, or to a file that NETRC names",
        )
    return Address(url=url, writes=write == "1")
