"""URLs of the Debian archives: those of the user, otherwise those of apt's configuration.

A lock holds paths below an archive's base URL; only this module knows hosts.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from edgeimg.errors import LockError

VARIABLES = {"debian": "EDGEIMG_MIRROR", "debian-security": "EDGEIMG_SECURITY_MIRROR"}
_SUITES = "buster bullseye bookworm trixie forky duke sid oldstable stable testing unstable"
_SUITE = re.compile(rf"({'|'.join(_SUITES.split())})(-updates|-security|/updates)?")
_KEYRING = "debian-archive"


@dataclass(frozen=True)
class Source:
    """One entry of apt's configuration."""

    uris: tuple[str, ...]
    suites: tuple[str, ...]
    components: tuple[str, ...]
    signed_by: str = ""


@dataclass(frozen=True)
class Mirrors:
    """Base URLs by archive (`debian`, `debian-security`), best first, without trailing slash."""

    bases: Mapping[str, tuple[str, ...]]

    def __str__(self) -> str:
        return ", ".join(base for bases in self.bases.values() for base in bases)

    def base(self, archive: str, choice: int) -> str:
        """The `choice`-th mirror of an archive, or its last. Raises LockError without one."""
        mirrors = self._of(archive)
        return mirrors[min(choice, len(mirrors) - 1)]

    def choices(self) -> int:
        """How many mirrors the archive that has most of them has."""
        return max(len(mirrors) for mirrors in self.bases.values())

    def urls(self, archive: str, path: str) -> tuple[str, ...]:
        """The URLs of an archive's file. Raises LockError without a mirror of the archive."""
        return tuple(f"{base}/{quote(path, safe='/+~:')}" for base in self._of(archive))

    def _of(self, archive: str) -> tuple[str, ...]:
        if not self.bases.get(archive):
            raise LockError(
                f"no mirror of the archive '{archive}' is known on this host",
                hint=f"name one: {VARIABLES.get(archive, 'EDGEIMG_MIRROR')}=URL",
            )
        return self.bases[archive]


def from_host(env: Mapping[str, str], *, apt: Path = Path("/etc/apt")) -> Mirrors:
    """The mirrors that `env` names, else those of apt's configuration below `apt`.

    EDGEIMG_MIRROR and EDGEIMG_SECURITY_MIRROR hold base URLs separated by blanks, tried in
    order. With only EDGEIMG_MIRROR given, `…/debian` implies `…/debian-security` beside it
    for a host whose apt has none. Raises LockError when there is no main archive, or a URL
    is not http(s).
    """
    apt_mirrors = _from_apt(apt)
    bases = {
        name: _from_variable(env, variable) or apt_mirrors[name]
        for name, variable in VARIABLES.items()
    }
    if not bases["debian"]:
        raise LockError(
            "this host's apt has no Debian archive configured",
            hint="name a mirror: EDGEIMG_MIRROR=https://HOST/debian "
            "EDGEIMG_SECURITY_MIRROR=https://HOST/debian-security",
        )
    if not bases["debian-security"]:
        bases["debian-security"] = tuple(
            f"{base}-security" for base in bases["debian"] if base.endswith("/debian")
        )
    return Mirrors(bases)


def _from_variable(env: Mapping[str, str], variable: str) -> tuple[str, ...]:
    urls = tuple(url.rstrip("/") for url in env.get(variable, "").split())
    for url in urls:
        if not re.match(r"https?://[^/\s]+", url):
            raise LockError(
                f"{variable}: {url!r} is not an http or https URL",
                hint=f"for example {variable}=https://HOST/debian",
            )
    return urls


def _from_apt(apt: Path) -> dict[str, tuple[str, ...]]:
    by_archive: dict[str, dict[str, None]] = {name: {} for name in VARIABLES}
    for source in read_sources(apt):
        if not _is_debian(source):
            continue
        security = any(re.search("-security$|/updates$", suite) for suite in source.suites)
        archive = by_archive["debian-security" if security else "debian"]
        archive.update(dict.fromkeys(uri.rstrip("/") for uri in source.uris))
    return {name: tuple(uris) for name, uris in by_archive.items()}


def _is_debian(source: Source) -> bool:
    """Third parties call their suites `stable` or `bookworm` too: the key or the path decides."""
    return (
        all(_SUITE.fullmatch(suite.rstrip("/")) for suite in source.suites)
        and "main" in source.components
        and any(re.match("https?://", uri) for uri in source.uris)
        and (_KEYRING in source.signed_by or any("/debian" in uri for uri in source.uris))
    )


def read_sources(apt: Path) -> list[Source]:
    """apt's enabled binary sources, in its order: sources.list, then sources.list.d by name.

    Reads both formats of sources.list(5), one-line and deb822. Unreadable files are skipped.
    """
    directory = apt / "sources.list.d"
    files = [apt / "sources.list", *sorted(directory.glob("*"))]
    sources: list[Source] = []
    for path in files:
        try:
            text = path.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue
        if path.suffix == ".list":
            sources += _one_line_style(text)
        elif path.suffix == ".sources":
            sources += _deb822(text)
    return [_http_only(source) for source in sources]


def _http_only(source: Source) -> Source:
    uris = tuple(uri for uri in source.uris if re.match("https?://", uri))
    return Source(uris, source.suites, source.components, source.signed_by)


def _one_line_style(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        match = re.match(r"\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s*([^#]*)", line)
        if match:
            options = dict(word.split("=", 1) for word in (match[1] or "").split() if "=" in word)
            signed_by = options.get("signed-by", "")
            yield Source((match[2],), (match[3],), tuple(match[4].split()), signed_by)


def _deb822(text: str) -> Iterator[Source]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for stanza in re.split(r"\n(?:[ \t]*\n)+", "\n".join(lines)):
        fields: dict[str, str] = {}
        last = ""
        for line in stanza.splitlines():
            name, colon, value = line.partition(":")
            if line[:1] in (" ", "\t"):
                fields[last] = f"{fields.get(last, '')} {line.strip()}"
            elif colon:
                last = name.strip().lower()
                fields[last] = value.strip()
        if "deb" not in fields.get("types", "").split() or fields.get("enabled") == "no":
            continue
        words = {name: tuple(fields.get(name, "").split()) for name in fields}
        yield Source(
            words.get("uris", ()),
            words.get("suites", ()),
            words.get("components", ()),
            fields.get("signed-by", ""),
        )
