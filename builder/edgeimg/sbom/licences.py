"""Licences from the copyright files of Debian's packages: usr/share/doc/*/copyright.

Machine-readable files (DEP 5, copyright-format 1.0) name the licence of every file; older ones
are prose, of which only the references to usr/share/common-licenses and two well-known texts are
understood. Names become SPDX identifiers where there is one, else `LicenseRef-<name>`
(SPDX 2.3, annex D).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from cyclonedx import spdx

from edgeimg.errors import ArchiveError
from edgeimg.sources.deb import Deb
from edgeimg.tree import Node, Tree

PREFIX = "LicenseRef-"
"""Prefix of licences that SPDX does not list."""

_DOC = "usr/share/doc"
_FORMAT = re.compile(r"^Format(-Specification)?:.*(copyright-format|dep5|DEP-?5)", re.M | re.I)
_GNU = re.compile(r"(A?L?GPL|GFDL)(-NIV)?-(\d)(?:\.(\d))?(?:\.0)?(\+|-or-later|-only)?", re.I)
_WORDS = re.compile(
    r"GNU (Lesser |Library |Affero )?General Public License,? (?:\w+ ){0,8}version (\d(?:\.\d)?)",
    re.I,
)
_GNU_NAME = re.compile(r"(A?L?GPL|GFDL)\b")
_COMMON = re.compile(r"/usr/share/common-licenses/([A-Za-z0-9.+-]*[A-Za-z0-9])")
_WITH = re.compile(r"(\S+)[- ]with[- ](.+?)([- ]exception)?", re.I)
_EXCEPTIONS = {
    "linux-syscall-note": "Linux-syscall-note",
    "gcc-runtime-3.1": "GCC-exception-3.1",
    "bison": "Bison-exception-2.2",
    "libtool": "Libtool-exception",
}
_PROSE = {
    "MIT": "Permission is hereby granted, free of charge",
    f"{PREFIX}BSD": "Redistribution and use in source and binary forms",
}
_NAMES = {
    "expat": "MIT",
    "artistic": "Artistic-1.0-Perl",
    "artistic-2": "Artistic-2.0",
    "apache-2": "Apache-2.0",
    "bsl-1": "BSL-1.0",
    "cc0": "CC0-1.0",
    "mpl-2": "MPL-2.0",
    "psf-2": "PSF-2.0",
}
"""Short names of copyright-format 1.0 that SPDX spells differently."""


class Licences:
    """The copyright files of a set of packages; one's documentation may be a link to another's."""

    def __init__(self, debs: Iterable[Deb]) -> None:
        nodes: dict[str, Node] = {}
        for deb in debs:
            nodes |= {path: node for path, node in deb.tree.under(_DOC) if _matters(path)}
        self._docs = Tree(nodes)

    def of(self, package: str) -> tuple[str, ...]:
        """SPDX expressions, sorted; all of them apply. Empty when none is known."""
        try:
            text = self._docs.read(f"{_DOC}/{package}/copyright")
        except (KeyError, ArchiveError):
            return ()
        return parse(text.decode("utf-8", "replace"))


def parse(text: str) -> tuple[str, ...]:
    """The licences that a copyright file names, as SPDX expressions, sorted."""
    expressions = _structured(text) if _FORMAT.search(text[:2000]) else _prose(text)
    return tuple(sorted(set(expressions)))


def expression(name: str) -> str:
    """The SPDX expression of one `License:` field: `GPL-2+ or Expat`, `Apache-2.0, BSL-1.0`."""
    alternatives = []
    for part in re.split(r",?\s+or\s+", name.strip(), flags=re.I):
        terms = [term for term in re.split(r",?\s+and\s+|,\s*", part, flags=re.I) if term.strip()]
        joined = " AND ".join(dict.fromkeys(_identifier(term.strip()) for term in terms))
        alternatives.append(f"({joined})" if " AND " in joined else joined)
    alternatives = list(dict.fromkeys(filter(None, alternatives)))
    if len(alternatives) == 1:
        return alternatives[0].strip("()")
    return " OR ".join(alternatives)


def joined(expressions: Iterable[str]) -> str:
    """One expression that joins all of them with AND; empty without any."""
    terms = list(expressions)
    if len(terms) == 1:
        return terms[0]
    return " AND ".join(f"({term})" if " " in term else term for term in terms)


def _identifier(name: str) -> str:
    if match := _GNU.fullmatch(name):
        family, invariant, major, minor, later = match.groups()
        tail = "or-later" if later in ("+", "-or-later") else "only"
        middle = "-no-invariants" if invariant else ""
        return f"{family.upper()}-{major}.{minor or 0}{middle}-{tail}"
    if (match := _WITH.fullmatch(name)) and (more := _EXCEPTIONS.get(match[2].lower())):
        return f"{_identifier(match[1])} WITH {more}"
    identifier = _NAMES.get(name.lower()) or spdx.fixup_id(name)
    return identifier or PREFIX + re.sub(r"[^A-Za-z0-9.-]+", "-", name).strip("-")


def _structured(text: str) -> Iterator[str]:
    for paragraph in re.split(r"\n\s*\n", text):
        fields = dict(re.findall(r"^(Files|License):[ \t]*(.*(?:\n[ \t].*)*)", paragraph, re.M))
        name = fields.get("License", "").partition("\n")[0].strip()
        files = fields.get("Files", "").split()
        # Files of Debian's packaging are not part of the program.
        if name and files and not all(path.startswith("debian/") for path in files):
            yield expression(name)


def _prose(text: str) -> Iterator[str]:
    # A reference to the text of "GPL-2" does not show whether later versions apply too.
    for name in _COMMON.findall(text):
        identifier = _NAMES.get(name.lower()) or spdx.fixup_id(name)
        yield identifier if identifier and not _GNU_NAME.match(name) else PREFIX + name
    flowing = " ".join(text.split())
    for kind, version in _WORDS.findall(flowing):
        family = {"l": "LGPL", "a": "AGPL", "": "GPL"}[kind[:1].lower()]
        yield f"{PREFIX}{family}-{version.removesuffix('.0')}"
    yield from (name for name, words in _PROSE.items() if words in flowing)


def _matters(path: str) -> bool:
    return path.count("/") == 3 or path.endswith("/copyright")
