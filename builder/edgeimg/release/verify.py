"""Verifies a release: every signature, every digest, every name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgeimg.errors import VerifyError
from edgeimg.progress import Progress, Silent
from edgeimg.release import consistency, sums
from edgeimg.release.facts import ReleaseFacts
from edgeimg.release.layout import EVIDENCE, FACTS, SIGNATURE, UPDATE_SIGNATURE, UPDATE_SUMS
from edgeimg.trust import signatures
from edgeimg.trust.signatures import Signer


@dataclass(frozen=True, kw_only=True)
class Verified:
    """A verified directory or file, with its signer."""

    path: Path
    files: int
    """How many files were checked."""
    size: int
    """Their bytes."""
    signer: Signer | None
    """None: without a key only digests were compared."""
    version: str | None = None
    """Of the release."""
    overrides: tuple[str, ...] = ()
    """Gates that its publisher overrode by name."""

    def to_json(self) -> dict[str, object]:
        """Plain values, for `--json`."""
        return {**asdict(self), "path": str(self.path)}


def verify_release(path: Path, key: Path | None, *, progress: Progress | None = None) -> Verified:
    """Check a release's directory, or one file by the SHA256SUMS beside it; offline.

    `key` is a public key file; without one only digests are compared. Raises VerifyError that
    names all that is wrong; HostError without gpgv.
    """
    progress = progress or Silent()
    return _directory(path, key, progress) if path.is_dir() else _file(path, key)


def _file(path: Path, key: Path | None) -> Verified:
    digests, signer = _listing(path.parent, key)
    if path.name in (sums.NAME, SIGNATURE, UPDATE_SIGNATURE):
        if key is None:
            raise VerifyError(f"a key is needed to verify {path.name}", hint="use --key FILE")
        if path.name == UPDATE_SIGNATURE:
            _require_update_signer(path.parent, signer, key)
    elif path.name not in digests:
        raise VerifyError(f"{path.name} is not listed in the {sums.NAME} beside it")
    elif problems := sums.check_file(path, digests[path.name]):
        raise _error(path.parent, problems)
    return Verified(path=path, files=1, size=path.stat().st_size, signer=signer)


def _directory(directory: Path, key: Path | None, progress: Progress) -> Verified:
    digests, signer = _listing(directory, key)
    list_files = {sums.NAME, SIGNATURE}
    is_complete = FACTS in digests
    besides = {*list_files, EVIDENCE}
    if UPDATE_SUMS in digests:
        besides.add(UPDATE_SIGNATURE)
        if key is not None:
            _require_update_signer(directory, signer, key)
    problems = sums.check(directory, digests, besides=besides, progress=progress)
    # Contents of files are compared only after their digests match the signed list.
    problems = problems or consistency.check(directory, digests)
    evidence = directory / EVIDENCE
    listed = dict(digests)
    if is_complete or evidence.exists() or evidence.is_symlink():
        if evidence.is_symlink() or not evidence.is_dir():
            raise _error(directory, [*problems, f"{EVIDENCE}/ is missing"])
        evidence_digests, evidence_signer = _listing(evidence, key)
        evidence_problems = sums.check(
            evidence, evidence_digests, besides=list_files, progress=progress
        )
        evidence_problems = evidence_problems or consistency.check_evidence(
            evidence, evidence_digests, digests
        )
        problems += [f"{EVIDENCE}/{problem}" for problem in evidence_problems]
        if signer and evidence_signer and signer.fingerprint != evidence_signer.fingerprint:
            problems.append(f"{EVIDENCE}/ was signed by {evidence_signer}, the rest by {signer}")
        listed |= {f"{EVIDENCE}/{name}": digest for name, digest in evidence_digests.items()}
    if problems:
        raise _error(directory, problems)
    version, overrides = _facts(directory) if is_complete else (None, ())
    return Verified(
        path=directory,
        files=len(listed),
        size=sum((directory / name).stat().st_size for name in listed),
        signer=signer,
        version=version,
        overrides=overrides,
    )


def _listing(directory: Path, key: Path | None) -> tuple[dict[str, str], Signer | None]:
    """The digests of a directory, and who signed them; the bytes that are parsed are those."""
    path = directory / sums.NAME
    if not path.is_file():
        raise VerifyError(
            f"there is no {sums.NAME} in {directory}",
            hint="verify takes the directory of a release, or a file with its SHA256SUMS beside it",
        )
    data = sums.read(path)
    if key is None:
        return sums.parse(data, path), None
    return sums.parse(data, path), _signer(path, data, key)


def _signer(listing: Path, data: bytes, key: Path) -> Signer:
    """Who signed the content of a listing, by the signature beside it. Raises VerifyError."""
    signature = listing.with_name(f"{listing.name}.gpg")
    if not signature.is_file():
        raise VerifyError(f"{listing.parent} is not signed: there is no {signature.name}")
    try:
        return signatures.verify(data, sums.read(signature), key)
    except VerifyError as error:
        raise VerifyError(f"{signature}: {error}", hint=error.hint) from error


def _require_update_signer(directory: Path, signer: Signer | None, key: Path) -> None:
    """Raises VerifyError unless `signer` of SHA256SUMS has signed SHA256SUMS.update, too."""
    listing = directory / UPDATE_SUMS
    other = _signer(listing, sums.read(listing), key)
    if signer is None or other.fingerprint != signer.fingerprint:
        raise VerifyError(f"{UPDATE_SUMS} was signed by {other}, {sums.NAME} by {signer}")


def _facts(directory: Path) -> tuple[str, tuple[str, ...]]:
    try:
        facts = ReleaseFacts.read(directory / FACTS)
    except VerifyError as error:
        raise _error(directory, [error.message]) from error
    return facts.version, tuple(f"{hold.gate}: {hold.reason}" for hold in facts.overrides)


def _error(path: Path, problems: Sequence[str]) -> VerifyError:
    if len(problems) == 1:
        return VerifyError(f"{path}: {problems[0]}", hint=_HINT)
    head = f"{path}: {len(problems)} things are wrong"
    return VerifyError("\n  ".join([head, *problems]), hint=_HINT)


_HINT = "do not use it; get it once more from where it was published"
