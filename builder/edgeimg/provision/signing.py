"""Signed settings: the document that names every file of a set, and its signature.

The gateway's side is overlays/base/usr/lib/edgeimg/provision-signed, which has the form.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeimg.errors import ProvisionError
from edgeimg.provision.rendering import DIRECTORY, SIGNED
from edgeimg.trust import signatures
from edgeimg.trust.keys import Key

_LARGEST = 10**15 - 1


@dataclass(frozen=True, kw_only=True)
class Signing:
    """Who signs settings, and what else the document says."""

    key: Key
    passphrase_file: Path | None = None
    serial: int | None = None
    """Gateways refuse what has a lower one than the settings in use; None: seconds since 1970."""
    was: str | None = None
    """The name of the gateway by now, where the settings give it another one."""
    expected: Path | None = None
    """The public key in the image, if it is known here."""


def signed(files: Mapping[str, bytes], signing: Signing) -> dict[str, bytes]:
    """The files (path on the config partition → content) with their document and its signature.

    Raises ProvisionError for a serial out of range, SigningKeyError, HostError without gpg, and
    VerifyError when the key is not the image's.
    """
    document = _document(files, signing)
    signature = signatures.detached(document, signing.key, passphrase_file=signing.passphrase_file)
    if signing.expected is not None:
        signatures.verify(document, signature, signing.expected)
    names = (f"{DIRECTORY}/{name}" for name in SIGNED)
    return {**files, **dict(zip(names, (document, signature), strict=True))}


def _document(files: Mapping[str, bytes], signing: Signing) -> bytes:
    serial = int(time.time()) if signing.serial is None else signing.serial
    if not 0 < serial <= _LARGEST:
        raise ProvisionError(f"serial {serial}: expected a number from 1 to {_LARGEST}")
    lines = ["edgeimg-settings 1", f"serial={serial}"]
    if name := files.get(f"{DIRECTORY}/hostname", b"").decode().strip():
        lines.append(f"gateway={name}")
    lines += [f"was={signing.was}"] if signing.was else []
    lines += [
        f"{hashlib.sha256(content).hexdigest()}  {path.removeprefix(f'{DIRECTORY}/')}"
        for path, content in sorted(files.items())
    ]
    return "".join(f"{line}\n" for line in lines).encode()
