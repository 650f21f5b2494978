"""Keys in a PKCS #11 token (OASIS PKCS #11 3.0): an HSM, a smart card, a USB key.

`pkcs11-tool` of OpenSC reaches the token, with the module of its maker. The private key never
leaves it. A token is named by a URI (RFC 7512):

    pkcs11:token=LABEL?module-path=/usr/lib/MODULE.so&pin-source=/root/pin
"""

from __future__ import annotations

import functools
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from edgeimg import process
from edgeimg.errors import HostError, SigningKeyError, ToolError, VerifyError
from edgeimg.trust import boot_keys, keys, openssl, pkcs7
from edgeimg.trust.pkcs7 import Certificate

SCHEME = "pkcs11:"
EXAMPLE = "pkcs11:token=LABEL?module-path=/usr/lib/MODULE.so&pin-source=/root/pin"
SECONDS = 120.0
"""For one operation of a token: some wait until a key is touched."""
_PIN = "PKCS11_TOOL_PIN"
_MAX_PIN = 256
_OBJECT = re.compile(r"^\s+label:\s+(.+?)\s*$\n^\s+ID:\s+([0-9A-Fa-f]+)\s*$", re.M)
_FAULTS = {
    "CKR_PIN_INCORRECT": "the PIN is wrong: after some more the token locks itself",
    "CKR_PIN_LOCKED": "its PIN is locked: unlock it with the PIN of its security officer",
    "CKR_PIN_LEN_RANGE": "the PIN has a length that it does not take",
    "CKR_TOKEN_WRITE_PROTECTED": "it is write-protected",
    "No slot with token named": "there is no token of this label: plug it in, or initialize it",
    "Failed to load pkcs11 module": "its module cannot be loaded: look at module-path",
    "No slots": "there is no token: plug it in",
}
"""What pkcs11-tool writes, and what it means."""


@dataclass(frozen=True, kw_only=True)
class Token:
    """Keys of one token. Their labels are the names."""

    label: str
    module: Path
    pin: str = field(repr=False)

    def __str__(self) -> str:
        return f"the token {self.label!r}"

    def check(self) -> None:
        """Raises SigningKeyError when there is no such token, or its PIN is wrong."""
        self._objects("privkey")

    def names(self, variable: str) -> Sequence[str]:
        """The keys for a variable. Raises SigningKeyError when two have one label."""
        return boot_keys.of_variable(list(self._objects("privkey")), variable)

    def make(self, name: str) -> None:
        """Make an RSA key in the token: it cannot be read from there."""
        self._run(
            "--login", "--keypairgen", f"--key-type=RSA:{openssl.BITS}", f"--label={name}",
            f"--id={name.encode().hex()}", "--usage-sign",
        )  # fmt: skip

    def public(self, name: str) -> bytes:
        """The public key in PEM."""
        with tempfile.TemporaryDirectory(prefix="edgeimg-") as work:
            path = Path(work) / "public.der"
            number = self._objects("pubkey", login=False).get(name)
            if number is None:
                raise SigningKeyError(
                    f"{self} has a private key {name}, and not its public key",
                    hint="write it to the token: pkcs11-tool --write-object FILE --type pubkey",
                )
            self._run("--read-object", "--type=pubkey", f"--id={number}", f"--output-file={path}")
            try:
                return openssl.public_pem(path.read_bytes())
            except (OSError, ToolError) as error:
                message = f"{self}: openssl cannot use the public key {name}"
                raise SigningKeyError(message) from error

    def certificate(self, name: str, subject: str) -> Certificate:
        """A certificate by the key itself. Raises SigningKeyError for other keys than RSA."""
        try:
            draft = pkcs7.certificate(openssl.unsigned(self.public(name), subject))
            return draft.signed(functools.partial(self.sign, name))
        except (ToolError, VerifyError) as error:
            raise SigningKeyError(f"{self}: {name} cannot be used: {error.message}") from error

    def sign(self, name: str, document: bytes) -> bytes:
        """The signature of `document`, which is checked. Equal arguments give equal bytes."""
        number = self._objects("privkey").get(name)
        if number is None:
            raise SigningKeyError(f"{self} has no key {name}")
        with tempfile.TemporaryDirectory(prefix="edgeimg-") as work:
            place = Path(work)
            (place / "document").write_bytes(document)
            self._run(
                "--login", "--sign", "--mechanism=SHA256-RSA-PKCS", f"--id={number}",
                f"--input-file={place / 'document'}", f"--output-file={place / 'signature'}",
            )  # fmt: skip
            # pkcs11-tool ends with 0 for some failures.
            made = place / "signature"
            signature = made.read_bytes() if made.exists() else b""
        if not openssl.verify(document, signature, self.public(name)):
            raise SigningKeyError(f"{self} did not sign with the key {name}")
        return signature

    def _objects(self, kind: str, *, login: bool = True) -> dict[str, str]:
        """The number (hexadecimal) of each key, by its label."""
        text = self._run(*(["--login"] if login else []), "--list-objects", f"--type={kind}")
        found: dict[str, str] = {}
        for label, number in _OBJECT.findall(text):
            if label in found:
                raise SigningKeyError(f"{self} has two keys with the label {label!r}")
            found[label] = number
        return found

    def _run(self, *arguments: str) -> str:
        environment = process.environment(dict(os.environ))  # modules have variables of their own
        argv = ["pkcs11-tool", f"--module={self.module}", f"--token-label={self.label}"]
        if "--login" in arguments:
            environment[_PIN] = self.pin
            argv.append(f"--pin=env:{_PIN}")
        if not shutil.which("pkcs11-tool"):
            raise HostError("cannot find pkcs11-tool", hint="install it: apt install opensc")
        try:
            return process.run([*argv, *arguments], timeout=SECONDS, env=environment).decode(
                errors="replace"
            )
        except ToolError as error:
            why = next((why for fault, why in _FAULTS.items() if fault in error.message), None)
            raise SigningKeyError(f"{self}: {why or error.message}") from error


def parse(uri: str, ask: Callable[[str], str]) -> Token:
    """The token of a URI. `ask` returns the PIN when the URI has no `pin-source`.

    Raises SigningKeyError for a URI that is not understood as a whole.
    """
    path, _, query = uri.removeprefix(SCHEME).partition("?")
    named = _attributes(path, ";", ("token",))
    options = _attributes(query, "&", ("module-path", "pin-source"))
    if "token" not in named or "module-path" not in options:
        raise SigningKeyError(f"{uri} has to name token and module-path", hint=f"such as {EXAMPLE}")
    label, module = named["token"], Path(options["module-path"])
    if not module.is_file():
        raise SigningKeyError(
            f"there is no PKCS #11 module {module}", hint="install the one of the token's maker"
        )
    source = options.get("pin-source")
    pin = _read_pin(Path(source.removeprefix("file:"))) if source else ask(f"PIN of {label}")
    return Token(label=label, module=module, pin=pin)


def _attributes(text: str, separator: str, known: Sequence[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, text.split(separator)):
        name, _, value = part.partition("=")
        if name == "pin-value":
            raise SigningKeyError(
                "pin-value shows the PIN to everybody on this machine",
                hint="put the PIN into a file of mode 600: pin-source=FILE",
            )
        if name not in known or name in found or not value:
            raise SigningKeyError(
                f"PKCS #11 URI: {part!r} is not understood", hint=f"such as {EXAMPLE}"
            )
        found[name] = unquote(value)
        if not found[name].isprintable():
            raise SigningKeyError(f"PKCS #11 URI: {name} has control characters")
    return found


def _read_pin(path: Path) -> str:
    keys.check_passphrase_file(path)
    with path.open("rb") as file:
        data = file.read(_MAX_PIN + 1)
    try:
        pin = data.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        pin = ""
    if not pin or len(data) > _MAX_PIN or "\n" in pin or "\0" in pin:
        raise SigningKeyError(f"{path} holds no PIN: expected one line")
    return pin
