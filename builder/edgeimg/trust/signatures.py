"""Detached OpenPGP signatures over SHA256SUMS, as systemd-sysupdate checks them."""

from __future__ import annotations

import datetime
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edgeimg.cache.store import write_whole
from edgeimg.errors import SigningKeyError, ToolError, VerifyError
from edgeimg.text import bounded
from edgeimg.trust import gnupg, keys, openpgp
from edgeimg.trust.keys import Key

_DIGEST = "SHA512"
_LARGEST_KEY = 16 << 20
"""Bytes of a file of public keys."""
_REFUSALS = {
    "REVKEYSIG": "its key has been revoked",
    "BADSIG": "it is for other bytes, or was changed",
    "NO_PUBKEY": "it was made with another key",
    "ERRSIG": "gpgv cannot check it",
}
"""By keyword of gpgv's status (doc/DETAILS of GnuPG), important ones first."""


@dataclass(frozen=True, kw_only=True)
class Signer:
    """Key and time of a valid signature."""

    fingerprint: str
    """Of the primary key."""
    user_id: str
    date: str
    """ISO date in UTC, as the signer's clock had it."""
    expired: bool
    """The key has expired since. Its signatures stay valid."""

    def __str__(self) -> str:
        return f"{self.user_id} ({self.fingerprint}) on {self.date}"


def sign(sums: Path, key: Key, *, passphrase_file: Path | None = None) -> Path:
    """Write the binary detached signature of `sums` beside it, as `<name>.gpg`, and check it.

    Never waits longer than `gnupg.PATIENCE`. Raises SigningKeyError when the key is locked and
    nobody can unlock it, or makes a signature that would not verify; HostError without gpg.
    """
    target = sums.with_name(f"{sums.name}.gpg")
    write_whole(target, detached(sums.read_bytes(), key, passphrase_file=passphrase_file))
    return target


def detached(document: bytes, key: Key, *, passphrase_file: Path | None = None) -> bytes:
    """The binary detached signature of `document`, checked. Raises as `sign` does."""
    data = _sign(document, key, passphrase_file)
    with tempfile.TemporaryDirectory(prefix="edgeimg-") as work:
        public = Path(work, "key.gpg")
        public.write_bytes(keys.export(key, armored=False))
        try:
            verify(document, data, public)
        except VerifyError as error:
            raise SigningKeyError(f"gpg made a signature that is of no use: {error}") from error
    return data


def rehearse(key: Key, *, passphrase_file: Path | None = None) -> None:
    """Raises as `sign` would: to know before hours of work whether the key can be used at all."""
    _sign(b"", key, passphrase_file)


def verify(document: bytes, data: bytes, key: Path) -> Signer:
    """Who signed `document`, by the detached signature `data` and the public keys in `key`.

    Raises VerifyError unless the signature is valid, by one of these keys, not revoked, and in
    the exact encoding of gpg.
    """
    keyring = public_keys(key)
    try:
        openpgp.signature(data, document)
    except ValueError as error:
        raise VerifyError(f"the signature is refused: {error}") from None
    with tempfile.TemporaryDirectory(prefix="edgeimg-") as work:
        home = Path(work)
        for name, content in (("sums", document), ("sums.gpg", data), ("key.gpg", keyring)):
            (home / name).write_bytes(content)
        status, log = gnupg.gpgv(home / "sums.gpg", home / "sums", home / "key.gpg", home=home)
    return _signer(status, log, key)


def public_keys(path: Path) -> bytes:
    """The keyring in a public key file, armored or binary. Raises VerifyError."""
    try:
        return openpgp.public_keys(bounded.read(path, _LARGEST_KEY))
    except OSError as error:
        raise VerifyError(f"cannot read the key {path}: {error.strerror}") from error
    except ValueError as error:
        raise VerifyError(
            f"{path}: {error}",
            hint="export one: gpg --armor --export NAME, or edgeimg genkey --export FILE",
        ) from None


def _sign(document: bytes, key: Key, passphrase_file: Path | None) -> bytes:
    keys.check_passphrase_file(passphrase_file)
    try:
        return gnupg.gpg(
            "--local-user", key.fingerprint, "--digest-algo", _DIGEST, "--detach-sign", "-",
            home=key.home, passphrase_file=passphrase_file, input=document,
        )  # fmt: skip
    except ToolError as error:
        raise SigningKeyError(
            f"gpg cannot sign with {key}: {error.message}",
            hint="if the key is locked: --passphrase-file FILE, or unlock it in gpg's agent first",
        ) from error


def _signer(status: list[str], log: str, key: Path) -> Signer:
    """The signer in gpgv's status. Raises VerifyError for any other status."""
    words = {line.split(" ", 1)[0]: line.split(" ") for line in status if line}
    for keyword, reason in _REFUSALS.items():
        if keyword in words:
            raise VerifyError(
                f"the signature is refused: {reason}",
                hint=f"it was checked with the keys in {key}",
            )
    good = words.get("GOODSIG") or words.get("EXPKEYSIG")
    valid = words.get("VALIDSIG")
    count = sum(line.startswith("NEWSIG") for line in status)
    if good is None or valid is None or count != 1 or gnupg.FAILED in words:
        raise VerifyError(f"gpgv does not accept the signature\n  {log}")
    signed = datetime.datetime.fromtimestamp(int(valid[3]), datetime.UTC)
    return Signer(
        fingerprint=valid[10] if len(valid) > 10 else valid[1],
        user_id=" ".join(good[2:]),
        date=signed.date().isoformat(),
        expired="EXPKEYSIG" in words,
    )
