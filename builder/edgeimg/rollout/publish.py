"""A release becomes a version that the roll-out server can order: where it is, and its digest.

The server keeps no file of it. A software module of the type `os` without artifacts has the address
and the SHA-256 of SHA256SUMS as metadata that gateways see.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edgeimg.errors import RolloutError
from edgeimg.fetch import http
from edgeimg.release import sums
from edgeimg.release.facts import ReleaseFacts
from edgeimg.release.layout import FACTS, SUMS
from edgeimg.rollout.server import Server
from edgeimg.text.json_text import JsonObject


@dataclass(frozen=True, kw_only=True)
class Version:
    """A published release; `sums` is the hex SHA-256 of its SHA256SUMS."""

    image: str
    version: str
    url: str
    sums: str


def read(directory: Path, url: str) -> Version:
    """The release in a directory, which is published at `url`.

    Raises VerifyError for a damaged release, FetchError when `url` does not answer, RolloutError
    when it has another release, or gateways could never find a version of this name.
    """
    facts = ReleaseFacts.read(directory / FACTS)
    if set(facts.version) & set("~^"):
        raise RolloutError(
            f"version {facts.version} has '~' or '^': systemd-sysupdate does not find it",
            hint="release it with a version of digits, letters, '.' and '-'",
        )
    listed = sums.read(directory / SUMS)
    published = http.read([f"{url.rstrip('/')}/{SUMS}"], limit=sums.LARGEST, name=SUMS)
    if published != listed:
        raise RolloutError(
            f"{url}/{SUMS} is not the one of {directory}",
            hint="copy the release to the web server first, each version to a directory of its own",
        )
    digest = hashlib.sha256(listed).hexdigest()
    return Version(image=facts.id, version=facts.version, url=url.rstrip("/"), sums=digest)


def publish(server: Server, version: Version) -> int:
    """Make the version known to the server, once; returns the id of its distribution set.

    Raises RolloutError when the server knows it with another address or digest.
    """
    module = _module(server, version)
    existing = find(server, version.image, version.version)
    if existing is not None:
        return existing
    body = {"name": version.image, "version": version.version, "type": "os",
            "modules": [{"id": module}]}  # fmt: skip
    return _id(server.post("/distributionsets", [body]))


def find(server: Server, image: str, version: str) -> int | None:
    """The id of a version's distribution set, if the server knows the version."""
    query = f'name=="{image}";version=="{version}"'
    return next((_id([one]) for one in server.entries("/distributionsets", query)), None)


def _module(server: Server, version: Version) -> int:
    wanted = {"url": version.url, "sums": version.sums}
    query = f'name=="{version.image}";version=="{version.version}"'
    known = next(iter(server.entries("/softwaremodules", query)), None)
    if known is None:
        body = {"name": version.image, "version": version.version, "type": "os"}
        known = {"id": _id(server.post("/softwaremodules", [body]))}
    number = _id([known])
    place = f"/softwaremodules/{number}/metadata"
    found = dict(_metadata(server, place))
    for key in wanted:
        if key in found and found[key] != wanted[key]:
            raise RolloutError(
                f"the server knows {version.image} {version.version} with another {key}: "
                f"{found[key]}",
                hint="a version is published once: release again with a higher one",
            )
    missing = [{"key": key, "value": value, "targetVisible": True}
               for key, value in wanted.items() if key not in found]  # fmt: skip
    if missing:
        server.post(place, missing)
    return number


def _metadata(server: Server, place: str) -> Iterator[tuple[str, str]]:
    for one in server.entries(place):
        yield str(one.get("key")), str(one.get("value"))


def _id(answer: object) -> int:
    """The id of the one object of an answer. Raises RolloutError for an answer without one."""
    first: JsonObject = answer[0] if isinstance(answer, list) and answer else {}
    number = first.get("id") if isinstance(first, dict) else None
    if not isinstance(number, int):
        raise RolloutError("the roll-out server's answer has no id")
    return number
