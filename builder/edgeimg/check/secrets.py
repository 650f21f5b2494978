"""Private keys, passwords and tokens anywhere in the root, archives and container images too.

An image is the same for every gateway and everybody who can download it has it: nothing in it
can be a secret. Every file is read once, in pieces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from edgeimg.check import private_keys, streams
from edgeimg.check.detectors import ANYWHERE, CRYPT, CRYPT_START, IN_TEXT, Detector
from edgeimg.check.findings import Finding, finding
from edgeimg.check.streams import Unreadable
from edgeimg.streams.decoding import Source
from edgeimg.tree import Kind, Tree
from edgeimg.tree.files import Reader

_CHUNK = 4 << 20
_MOST_TEXT = 4 << 20
"""Larger files are no text that people write."""
_SMALL = 1 << 14
"""Keys without any text around them are no larger."""
_WORD = re.compile(rb"[\w+/-]")
_ACCOUNTS = re.compile(r"(?:^|/)etc/(?:shadow|passwd)-?$")
_FIXES = {
    "private-key": "let each gateway make its own on first start, or provision it",
    "password-hash": "lock the account (`!*`), and provision a password for each gateway",
    "token": "provision it for each gateway, and revoke this one",
}


@dataclass
class _Secrets:
    """Secrets of one content by rule: description and offset."""

    hits: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    text: bytes | None = None
    """The content, where it is a text."""

    def line(self, rule: str) -> int:
        """The line of the first hit, counted from 1; 0 where there are no lines."""
        first = min(self.hits[rule])[0]
        return 0 if self.text is None else self.text.count(b"\n", 0, first) + 1

    def add(self, rule: str, at: int, title: str) -> None:
        self.hits.setdefault(rule, []).append((at, title))


def check(tree: Tree) -> list[Finding]:
    """One finding for each kind of secret in each file or archive member."""
    findings: list[Finding] = []
    with Reader() as reader:
        for path, node in tree.items():
            if node.kind is Kind.FILE and node.size:
                findings += scan(path, reader.open(node.content))
    return findings


def scan(path: str, source: Source) -> list[Finding]:
    """The secrets in one file of the image, read from `source`."""
    findings: list[Finding] = []
    try:
        for member, stream in streams.leaves(source):
            content = _content(member.rpartition("!")[2] or path, stream)
            name = member.encode("utf-8", "backslashreplace").decode()
            findings += [_finding(rule, path, name, content) for rule in sorted(content.hits)]
    except (Unreadable, *streams.DAMAGE) as error:
        fix = "remove it, or accept that it is not checked"
        message = f"an archive that could not be looked into: {error}"
        findings.append(finding("unread-archive", path, message, fix))
    return findings


def _finding(rule: str, path: str, member: str, content: _Secrets) -> Finding:
    hits, line = content.hits[rule], content.line(rule)
    title = min(hits)[1]
    place = f", in {member}" if member else ""
    where = f" (line {line})" if line else ""
    more = f", and {len(hits) - 1} more" if len(hits) > 1 else ""
    message = f"{title}{where}{more}{place}"
    return finding(rule, path, message, _FIXES[rule], item=member, line=0 if member else line)


def _content(path: str, stream: Source) -> _Secrets:
    """`path` is that within the innermost archive."""
    secrets = _Secrets()
    for first, last, window, fresh in _windows(stream):
        if first and last:
            if len(window) <= _MOST_TEXT and b"\0" not in window:
                secrets.text = window
            if len(window) <= _SMALL:
                _file_key(window, secrets)
        for detector in ANYWHERE:
            _search(detector, window, fresh, secrets)
        for match in CRYPT_START.finditer(window, 0, fresh):
            _judge(CRYPT, window, match.start(), secrets)
    if secrets.text is not None:
        _text(path, secrets.text, secrets)
    return secrets


def _windows(stream: Source) -> Iterator[tuple[bool, bool, bytes, int]]:
    """Pieces of a stream with enough of the next for the longest key.

    Gives: is it the first, is it the last, the bytes, and how many of them are this piece's own.
    """
    first, window = True, stream.read(_CHUNK)
    while True:
        more = stream.read(_CHUNK) if len(window) >= _CHUNK else b""
        last = not more
        fresh = len(window) if last else max(0, len(window) - private_keys.LONGEST)
        yield first, last, window, fresh
        if last:
            return
        first, window = False, window[fresh:] + more


def _search(detector: Detector, window: bytes, fresh: int, secrets: _Secrets) -> None:
    at = window.find(detector.anchor)
    while 0 <= at < fresh:
        if not (detector.word and at and _WORD.match(window, at - 1)):
            _judge(detector, window, at, secrets)
        at = window.find(detector.anchor, at + 1)


def _judge(detector: Detector, window: bytes, at: int, secrets: _Secrets) -> None:
    if title := detector.judge(window[at : at + private_keys.LONGEST]):
        secrets.add(detector.rule, at, title)


def _file_key(data: bytes, secrets: _Secrets) -> None:
    """Keys that are a file by themselves."""
    if title := private_keys.der(data) or private_keys.raw_ssh(data):
        secrets.add("private-key", 0, title)


def _text(path: str, text: bytes, secrets: _Secrets) -> None:
    for detector in IN_TEXT:
        if detector.rule in secrets.hits:
            continue  # the same key, matched by two detectors
        if not detector.where.search(path) or not detector.needs.search(text):
            continue
        for match in detector.pattern.finditer(text):
            secrets.add(detector.rule, match.start(), detector.what)
    if _ACCOUNTS.search(f"/{path}"):
        _accounts(text, secrets)


def _accounts(text: bytes, secrets: _Secrets) -> None:
    """Accounts that anybody may use: the field of the password is empty (shadow(5), passwd(5))."""
    for match in re.finditer(rb"^([^:\n]+)::(?:[^:\n]*:){4}", text, re.MULTILINE):
        user = match[1].decode("utf-8", "replace")
        secrets.add(
            "password-hash", match.start(), f"{user} has no password: anybody can log in with it"
        )
