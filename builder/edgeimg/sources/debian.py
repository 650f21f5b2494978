"""Package names → the Debian packages that apt would install, with size and sha256.

Each resolution starts from nothing installed but the excluded packages, so that their
dependencies are not pulled in. Versions, sizes and digests come from the signed index.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import unquote

from edgeimg import fetch
from edgeimg.arch import Arch
from edgeimg.errors import EdgeimgError, LockError
from edgeimg.fetch.mirrors import VARIABLES, Mirrors
from edgeimg.lock.model import Package
from edgeimg.sources import apt, debian_container, pins
from edgeimg.sources.apt import Outcome, Repository, Runner
from edgeimg.sources.pins import MAIN, Pins

MAX_INDEX = 64 << 20
"""Most bytes of a compressed package index."""
_FIELDS = ("Package", "Architecture", "Multi-Arch", "Version", "Provides")
_URI = re.compile(r"'([^']+)' (\S+) (\d+) SHA256:([0-9a-f]{64})")
_MISMATCH = re.compile(
    r"^E: Failed to fetch (?P<url>\S+)\s+(?:File has unexpected size|Hash Sum mismatch)"
    r"(?P<rest>.*(?:\n .*)*)",
    re.MULTILINE,
)


@dataclass(frozen=True)
class Index:
    """The package indexes of one architecture, ready to resolve from."""

    root: Path
    arch: Arch
    suite: str
    repositories: tuple[Repository, ...]
    run: Runner
    codenames: Mapping[str, str] = field(default_factory=dict)
    """Of the suites besides the base suite and its updates."""

    @property
    def unsigned(self) -> bool:
        """Whether the indexes were accepted without a matching signature."""
        return any(repository.trusted for repository in self.repositories)

    def resolve(
        self,
        names: Sequence[str],
        exclude: Iterable[str] = (),
        requested_pins: Pins = Pins(),  # noqa: B008
    ) -> tuple[Package, ...]:
        """The packages to install for `names` with dependencies, without recommended ones, sorted.

        `wanted` says which packages come from another suite or component; the index must have been
        opened with them. Raises LockError for unknown packages and dependencies that cannot be met.
        """
        components = {name for repository in self.repositories for name in repository.components}
        preferences = pins.preferences(requested_pins, self.codenames, components)
        (self.root / "etc/preferences").write_text(preferences)
        pretended = sorted(set(exclude) - set(names))
        (self.root / "status").write_text(self._status(pretended))
        argv = ["apt-get", "install", "--print-uris", "-y", "-q", "--no-install-recommends"]
        outcome = self.run([*argv, "--", *names], self.root)
        if outcome.status:
            problem = pins.unavailable(outcome, requested_pins, self.suite, self.arch.debian)
            raise problem or _unresolvable(outcome, self.arch)
        packages = parse_uris(outcome.out, self.repositories)
        return pins.origins(packages, requested_pins, self.repositories, self.run, self.root)

    def _status(self, names: Sequence[str]) -> str:
        """A dpkg status in which `names` are installed, as they are in the index."""
        if not names:
            return ""
        # Names that the index lacks make apt-cache fail after it printed the others.
        records = self.run(["apt-cache", "show", "--no-all-versions", "--", *names], self.root).out
        stanzas = []
        for text in records.split("\n\n"):
            fields = dict(re.findall(rf"^({'|'.join(_FIELDS)}): (.*)$", text, re.MULTILINE))
            if "Package" in fields:
                stanza = "".join(f"{name}: {fields[name]}\n" for name in _FIELDS if name in fields)
                # On hold, because apt sees an upgrade in the real package of the same version.
                stanzas.append(f"{stanza}Status: hold ok installed\n")
        return "\n".join(stanzas)


@contextlib.contextmanager
def open_index(
    arch: Arch,
    suite: str,
    mirrors: Mirrors,
    *,
    accept_unsigned: bool,
    work: Path,
    pin_requests: Iterable[Pins] = (),
) -> Iterator[Index]:
    """Download the indexes of `suite` with its updates. They are removed at the end of the block.

    So are those of the suites and components of `wanted`, what resolutions take besides.
    Mirrors are tried in order. `accept_unsigned` is the way on where no mirror's index matches
    its signature. Raises LockError (no mirror works, or an index is out of step), HostError.
    """
    run: Runner
    with contextlib.ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="apt.", dir=work)))
        if apt.available():
            apt.require_keyring()
            run, extra = apt.on_host, apt.host_settings(apt.on_host, root / "none")
        else:
            run, extra = stack.enter_context(debian_container.runner(root)), ""
        yield _update(root, arch, suite, mirrors, tuple(pin_requests), accept_unsigned, run, extra)


def repositories(
    suite: str, mirrors: Mirrors, choice: int, pin_requests: Sequence[Pins] = ()
) -> tuple[Repository, ...]:
    """The sources of `suite`, from the `choice`-th mirror of each archive (or its last).

    With those of the suites and components of `wanted`.
    """
    suites = _base_suites(suite)
    for name in sorted({name for request in pin_requests for name in request.suites.values()}):
        archive = "debian-security" if name.endswith("-security") else "debian"
        suites[archive] = tuple(dict.fromkeys((*suites.get(archive, ()), name)))
    more = sorted(
        {component for request in pin_requests for component in request.components} - {MAIN}
    )
    return tuple(
        Repository(archive, mirrors.base(archive, choice), names, (MAIN, *more))
        for archive, names in suites.items()
    )


def _base_suites(suite: str) -> dict[str, tuple[str, ...]]:
    """A suite and its updates, by archive."""
    if suite in ("sid", "unstable"):
        return {"debian": (suite,)}
    return {"debian": (suite, f"{suite}-updates"), "debian-security": (f"{suite}-security",)}


def parse_uris(text: str, repositories: Sequence[Repository]) -> tuple[Package, ...]:
    """The packages in the output of `apt-get install --print-uris` with SHA256 forced.

    Raises LockError for an unknown line: nothing may be dropped silently.
    """
    packages = []
    for line in text.splitlines():
        if not line.startswith("'"):
            continue
        match = _URI.fullmatch(line.strip())
        uri = match[1] if match else ""
        archive = [r for r in repositories if uri.startswith(f"{r.base}/")]
        parts = unquote(match[2]).removesuffix(".deb").split("_") if match else []
        if not match or not archive or len(parts) != 3:
            raise LockError(f"cannot understand apt's answer {line!r}")
        best = max(archive, key=lambda r: len(r.base))
        packages.append(
            Package(
                name=parts[0],
                version=parts[1],
                arch=parts[2],
                archive=best.archive,
                path=unquote(uri.removeprefix(f"{best.base}/")),
                size=int(match[3]),
                sha256=match[4],
            )
        )
    return tuple(sorted(packages))


def _update(
    root: Path,
    arch: Arch,
    suite: str,
    mirrors: Mirrors,
    pin_requests: Sequence[Pins],
    accept_unsigned: bool,
    run: Runner,
    extra: str,
) -> Index:
    suites = {name for request in pin_requests for name in request.suites.values()}
    errors: list[LockError] = []
    for choice in range(mirrors.choices()):
        selected = repositories(suite, mirrors, choice, pin_requests)
        apt.configure(root, arch.debian, selected, extra)
        outcome = run(["apt-get", "update", "-qq"], root)
        if outcome.status == 0:
            return Index(
                root, arch, suite, selected, run, pins.codenames(root, _base_suites(suite), suites)
            )
        mismatch = _MISMATCH.search(outcome.err)
        if mismatch and accept_unsigned:
            local = _unsigned_copy(root, arch, selected, suites)
            apt.configure(root, arch.debian, local, extra)
            outcome = run(["apt-get", "update", "-qq"], root)
            if outcome.status == 0:
                return Index(root, arch, suite, local, run, pins.codenames(root, {}, suites))
            mismatch = _MISMATCH.search(outcome.err)  # of a pinned suite
        errors.append(
            _out_of_step(outcome, arch, accept_unsigned) if mismatch else _unusable(outcome, arch)
        )
    raise errors[-1]


def _unsigned_copy(
    root: Path, arch: Arch, repositories: Sequence[Repository], signed: Collection[str]
) -> tuple[Repository, ...]:
    """A local copy of the indexes without their Release files, so apt compares no digests.

    The suites `signed` stay where they are: apt keeps suites apart by their Release files.
    """
    local = []
    for repository in repositories:
        base = root / "unsigned" / repository.archive
        copied = tuple(suite for suite in repository.suites if suite not in signed)
        if suites_signed := tuple(suite for suite in repository.suites if suite in signed):
            local.append(replace(repository, suites=suites_signed))
        for suite, component in itertools.product(copied, repository.components):
            path = f"dists/{suite}/{component}/binary-{arch.debian}/Packages.xz"
            target = base / path
            target.parent.mkdir(parents=True, exist_ok=True)
            name = f"the {arch.debian} index of {suite}"
            target.write_bytes(
                fetch.read([f"{repository.base}/{path}"], limit=MAX_INDEX, name=name)
            )
        local.append(replace(repository, base=f"file:{base}", suites=copied, trusted=True))
    return tuple(local)


def _out_of_step(outcome: Outcome, arch: Arch, accepted: bool) -> LockError:
    lines = [f"the mirror's package index for {arch.debian} does not match its signed Release file"]
    for match in _MISMATCH.finditer(outcome.err):
        expected = re.search(r"SHA256:([0-9a-f]{64})", match["rest"])
        size = re.search(r"Filesize:(\d+)", match["rest"])
        lines.append(
            f"{match['url']}: expected {size[1] if size else '?'} bytes with sha256 "
            f"{expected[1] if expected else '?'}, found {_actual(match['url'])}"
        )
    accept = (
        "remove the pins: a pinned suite is always signed"
        if accepted
        else "accept it explicitly with "
        f"`edgeimg lock --accept-unsigned-index {arch.name}` (every build will warn)"
    )
    return LockError(
        "\n  ".join(lines),
        hint="the mirror is being updated or is out of step: try again later, name another with "
        f"{VARIABLES['debian']} and {VARIABLES['debian-security']}, or {accept}",
    )


def _actual(url: str) -> str:
    try:
        data = fetch.read([url], limit=MAX_INDEX, name=url)
    except EdgeimgError:
        return "no answer"
    return f"{len(data)} bytes with sha256 {hashlib.sha256(data).hexdigest()}"


def _unusable(outcome: Outcome, arch: Arch) -> LockError:
    problems = [line[3:] for line in outcome.err.splitlines() if line.startswith(("E: ", "W: "))]
    keys = any("NO_PUBKEY" in line or "signatures were invalid" in line for line in problems)
    return LockError(
        "\n  ".join([f"apt cannot read the package indexes for {arch.debian}", *problems[:6]]),
        hint="this host's debian-archive-keyring is too old for the suite: update it"
        if keys
        else "check the network and the mirror (EDGEIMG_MIRROR, EDGEIMG_SECURITY_MIRROR)",
    )


def _unresolvable(outcome: Outcome, arch: Arch) -> LockError:
    missing = re.findall(
        r"Unable to locate package (\S+)|Package '(\S+)' has no installation candidate",
        outcome.err,
    )
    if missing:
        names = ", ".join(sorted({first or second for first, second in missing}))
        return LockError(
            f"no such package for {arch.debian}: {names}",
            hint="correct [packages] in the recipe; `apt-cache search` finds names",
        )
    text = f"{outcome.out}\n{outcome.err}".strip().splitlines()
    tail = [line.strip() for line in text if line.strip()][-8:]
    return LockError(
        "\n  ".join([f"apt finds no solution for {arch.debian}", *tail]),
        hint="correct [packages].include and [packages].exclude in the recipe",
    )
