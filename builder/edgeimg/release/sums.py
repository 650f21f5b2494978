"""SHA256SUMS, as sha256sum(1) writes it: read strictly, and held against a directory."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from edgeimg.cache.store import sha256_file
from edgeimg.errors import VerifyError
from edgeimg.progress import Progress
from edgeimg.release.layout import SUMS
from edgeimg.text import bounded

NAME = SUMS
LARGEST = 1 << 20
"""Bytes of a listing or a signature; nobody needs more."""
_LINE = re.compile(r"(?P<digest>[0-9a-f]{64})  (?P<name>[0-9A-Za-z][0-9A-Za-z._~^+-]{0,250})")


def read(path: Path) -> bytes:
    """The content of a small file of a release. Raises VerifyError when it is missing or large."""
    try:
        return bounded.read(path, LARGEST)
    except OSError as error:
        raise VerifyError(f"cannot read {path}: {error.strerror}") from error


def parse(data: bytes, path: Path) -> dict[str, str]:
    """SHA-256 by file name. Raises VerifyError unless every byte is as edgeimg writes it."""
    text = data.decode("ascii", errors="replace")
    digests: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        match = _LINE.fullmatch(line)
        if not match or match["name"] in digests:
            raise VerifyError(f"{path}:{number}: not a digest and the name of one file")
        digests[match["name"]] = match["digest"]
    if not digests or encode_sums(digests) != data:
        raise VerifyError(f"{path} is not sorted by name with one file a line, or is truncated")
    return digests


def encode_sums(digests: Mapping[str, str]) -> bytes:
    """The content of the file."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())).encode()


def check(
    directory: Path, listed: Mapping[str, str], *, besides: Iterable[str], progress: Progress
) -> list[str]:
    """Problems with the files of `directory`, one line each; `besides` need not be listed.

    Every other file has to be listed and every listed one has to be there, as a regular file with
    that digest.
    """
    present = {path.name for path in directory.iterdir()} - set(besides)
    problems = [f"{name} is not listed in {NAME}" for name in sorted(present - listed.keys())]
    problems += [f"{name} is missing" for name in sorted(listed.keys() - present)]
    files = sorted(present & listed.keys())
    total = sum((directory / name).lstat().st_size for name in files)
    with progress.task(f"verify {directory.name}", total) as advance:
        for name in files:
            problems += check_file(directory / name, listed[name])
            advance((directory / name).lstat().st_size)
    return problems


def check_file(path: Path, digest: str) -> list[str]:
    """Problems with one file."""
    if path.is_symlink() or not path.is_file():
        return [f"{path.name} is not a regular file"]
    try:
        actual = sha256_file(path)
    except OSError as error:
        return [f"{path.name} cannot be read: {error.strerror}"]
    if actual != digest:
        return [f"{path.name} was changed: its sha256 is {actual}, {NAME} has {digest}"]
    return []
