"""Starts openssl of this host, without its configuration, for RSA keys and X.509 certificates."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from edgeimg import process
from edgeimg.errors import HostError, ToolError

SECONDS = 60.0
BITS = 2048
"""UEFI 2.10, 32.4.1 requires no more of firmware, and some firmware takes no more."""
_YEARS = 30


def require() -> None:
    """Raises HostError when openssl is not installed."""
    if not shutil.which("openssl"):
        raise HostError("cannot find openssl", hint="install it: apt install openssl")


def run(*args: str | Path, input: bytes | None = None) -> bytes:
    """Run openssl; its standard output. Raises HostError when it is missing, ToolError."""
    require()
    environment = process.environment({"OPENSSL_CONF": "/dev/null"})
    return process.run(["openssl", *args], timeout=SECONDS, env=environment, input=input)


def new_key() -> bytes:
    """A new RSA key: unencrypted PKCS #8 in PEM."""
    return run("genpkey", "-algorithm", "RSA", "-pkeyopt", f"rsa_keygen_bits:{BITS}")


def self_signed(key: Path, name: str) -> bytes:
    """A certificate in PEM for the key in a file, by this key, with `name` as its common name.

    Firmware has no clock to trust and does not look at the dates.
    """
    return run(
        "req", "-new", "-x509", "-sha256", "-key", key, "-utf8", "-subj", f"/CN={name}",
        "-addext", "basicConstraints=critical,CA:TRUE", "-days", str(_YEARS * 365),
    )  # fmt: skip


def unsigned(public: bytes, name: str) -> bytes:
    """A certificate in PEM as of `self_signed`, for a public key in PEM, by a key that is lost.

    The signature in it has to be replaced: its private key is somewhere else.
    """
    extensions = "basicConstraints=critical,CA:TRUE\nauthorityKeyIdentifier=none\n"
    with tempfile.TemporaryDirectory(prefix="edgeimg-") as work:
        place = Path(work)
        key, draft = place / "key.pem", place / "draft.pem"
        key.write_bytes(new_key())
        (place / "public.pem").write_bytes(public)
        (place / "extensions").write_text(extensions)
        draft.write_bytes(self_signed(key, name))
        return run(
            "x509", "-in", draft, "-force_pubkey", place / "public.pem", "-signkey", key, "-sha256",
            "-days", str(_YEARS * 365), "-clrext", "-extfile", place / "extensions",
        )  # fmt: skip


def public_pem(data: bytes) -> bytes:
    """A public key in DER (RFC 5280, 4.1.2.7) as PEM. Raises ToolError."""
    return run("pkey", "-pubin", "-inform", "DER", input=data)


def public_key_of_certificate(certificate: bytes) -> bytes:
    """The public key of a certificate, both in PEM. Raises ToolError for any other text."""
    return run("x509", "-noout", "-pubkey", input=certificate)


def public_key(key: Path) -> bytes:
    """The public key of a private key, in PEM. Raises ToolError for a file that holds no key."""
    return run("pkey", "-in", key, "-passin", "pass:", "-pubout")


def sign(document: bytes, key: Path) -> bytes:
    """The RSA signature (PKCS #1 1.5, SHA-256) of `document`. Equal arguments give equal bytes."""
    return run("dgst", "-sha256", "-sign", key, "-passin", "pass:", input=document)


def verify(document: bytes, signature: bytes, public: bytes) -> bool:
    """Whether `signature` is that of `document` by the public key (PEM)."""
    require()
    with tempfile.TemporaryDirectory(prefix="edgeimg-") as work:
        place = Path(work)
        (place / "key.pem").write_bytes(public)
        (place / "signature").write_bytes(signature)
        try:
            run(
                "dgst", "-sha256", "-verify", place / "key.pem",
                "-signature", place / "signature", input=document,
            )  # fmt: skip
        except ToolError:
            return False
    return True
