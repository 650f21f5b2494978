"""What the values of settings may be: types that check, and say what they expected.

Keys that end in `_file` or `_files` name files, relative to the settings. They are read while the
settings are validated (context["folder"] is where from), so what is wrong with a file is told like
everything else, with the line that names it. No message repeats what is in a secret one.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from edgeimg.provision import zones
from edgeimg.recipe.harmless import PORT, V6
from edgeimg.text.validation import HUSHED, near

LIMIT = 65536
"""Bytes of one file, as the gateway takes it."""
FOLDER = "folder"
"""The key of pydantic's context that holds where relative paths start."""
_SSH_KEY = re.compile(
    r"(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-[a-z0-9@.-]+)[ \t]+[A-Za-z0-9+/]+=*"
    r"([ \t].*)?"
)

_HOST = rf"(\[{V6}\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:({PORT}))?"


class Given(str):
    """What a file would hold, given in its place."""


def hushed(why: str) -> PydanticCustomError:
    """An error that says `why` and does not repeat the value."""
    return PydanticCustomError(HUSHED, "{why}", {"why": why})


def is_quotable(text: str) -> bool:
    """One line that can be put between quotes without escapes: all that the gateway's YAML has."""
    return text.isprintable() and ("'" not in text or not ('"' in text or "\\" in text))


def _read(value: object, info: ValidationInfo) -> str:
    if isinstance(value, Given):
        return str(value)
    if not isinstance(value, str) or not value or "\0" in value:
        raise hushed("expected the path of a file")
    folder = Path((info.context or {}).get(FOLDER, "."))
    try:
        with (folder / value).open("rb") as file:
            raw = file.read(LIMIT + 1)
    except OSError as error:
        raise hushed(f"the file that it names cannot be read: {error.strerror}") from None
    if len(raw) > LIMIT:
        raise hushed(f"the file that it names is larger than {LIMIT >> 10} KiB")
    try:
        return raw.decode().replace("\r\n", "\n")
    except UnicodeDecodeError:
        raise hushed("the file that it names is no text (UTF-8)") from None


def _line(value: object, info: ValidationInfo) -> SecretStr:
    """The one line of a secret file; or what somebody has typed, which is no text yet."""
    if isinstance(value, SecretStr):
        return value
    text = _read(value, info).rstrip("\n")
    if not text or not text.isprintable():
        raise hushed("the file that it names should hold one line of text, the secret")
    return SecretStr(text)


def _secret(check: Callable[[str], bool], expected: str) -> Any:
    def checked(value: SecretStr) -> SecretStr:
        text = value.get_secret_value()
        if not text or not check(text):
            raise hushed(f"expected {expected}")
        return value

    described = {"type": "string", "description": f"file that holds {expected}"}
    return Annotated[
        SecretStr, BeforeValidator(_line), AfterValidator(checked), WithJsonSchema(described)
    ]


def _matching(pattern: str, expected: str, *, repeated: bool = True) -> Any:
    """A text of one form. Schemas tell the form, people are told what is expected.

    What is not `repeated` in errors may have a password in it, when somebody puts one there.
    """
    form = re.compile(pattern)

    def checked(text: str) -> str:
        if not form.fullmatch(text):
            why = f"expected {expected}"
            raise ValueError(why) if repeated else hushed(why)
        return text

    described = {"type": "string", "pattern": pattern}
    return Annotated[str, AfterValidator(checked), WithJsonSchema(described)]


def _ssh_key(text: str) -> str:
    if not _SSH_KEY.fullmatch(text.strip()):
        raise hushed("expected a public ssh key, such as 'ssh-ed25519 AAAA… name'")
    return text.strip()


def _ssh_keys(value: object, info: ValidationInfo) -> tuple[str, ...]:
    lines = [line.strip() for line in _read(value, info).splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys or not all(_SSH_KEY.fullmatch(key) for key in keys):
        raise hushed("the file that it names should hold public ssh keys, one a line")
    return tuple(keys)


def _certificates(value: object, info: ValidationInfo) -> str:
    text = _read(value, info)
    if "PRIVATE KEY" in text:
        raise hushed("the file that it names holds a private key: certificates alone go here")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        raise hushed("the file that it names holds no certificates (PEM)") from None
    if not context.get_ca_certs():
        raise hushed("no certificate in the file that it names is an authority's (CA:TRUE)")
    return text


def _script(value: object, info: ValidationInfo) -> SecretStr:
    if isinstance(value, SecretStr):
        return value
    text = _read(value, info)
    if not text.startswith("#!/bin/sh"):
        raise hushed("the file that it names should be a shell script: '#!/bin/sh' comes first")
    return SecretStr(text)


def _interface(text: str) -> str:
    _no_scope(text)
    try:
        return str(ipaddress.ip_interface(text)) if "/" in text else _no_prefix()
    except ValueError:
        raise ValueError("expected an address with its prefix, such as '192.168.1.2/24'") from None


def _no_prefix() -> str:
    raise ValueError


def _no_scope(text: str) -> None:
    """The card of a link-local address is that of its table."""
    if "%" in text:
        raise hushed(f"expected '{text.partition('%')[0]}', without the name of a card")


def _address(text: str) -> str:
    _no_scope(text)
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError("expected an address such as '192.168.1.1'") from None


def _destination(text: str) -> str:
    _no_scope(text)
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError("expected a network such as '10.0.0.0/8'") from None


def _proxy_url(text: str) -> str:
    if "@" in text:
        raise hushed("name user and password apart from the address: 'user', 'password_file'")
    if not re.fullmatch(rf"https?://{_HOST}/?", text):
        raise ValueError("expected an address such as 'http://proxy.lan:3128'")
    return text


def _timezone(name: str) -> str:
    if meant := zones.mistaken(name):
        raise hushed(f"{name} is east for people and west in rules: expected '{meant}' for {name}")
    if zones.is_rule(name) or name in zones.names():
        return name
    close = near(name, sorted(zones.names()), all_else=False)
    raise hushed(f"expected a time zone such as 'Europe/Berlin', found {name[:40]!r}{close}")


def _is_passphrase(text: str) -> bool:
    return text.isascii() and 8 <= len(text) <= 63


def _ssid(text: str) -> str:
    if not 1 <= len(text.encode()) <= 32 or not text.isprintable():
        raise ValueError("expected the name of a network, of 1 to 32 bytes")
    return text


def _is_token(text: str) -> bool:
    return is_quotable(text) and " " not in text


Hostname = _matching(
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$",
    "a name of lower-case letters, digits and '-', of at most 63",
)
SshKey = Annotated[str, AfterValidator(_ssh_key)]
SshKeyFile = Annotated[
    tuple[str, ...], BeforeValidator(_ssh_keys), WithJsonSchema({"type": "string"})
]
CertificateFile = Annotated[str, BeforeValidator(_certificates), WithJsonSchema({"type": "string"})]
ScriptFile = Annotated[SecretStr, BeforeValidator(_script), WithJsonSchema({"type": "string"})]
TokenFile = _secret(_is_token, "a token, without spaces and without both kinds of quotes")
PassphraseFile = _secret(_is_passphrase, "a passphrase of 8 to 63 characters (ASCII)")
PasswordFile = _secret(
    lambda text: len(text) <= 16384 and text == text.strip(),
    "a password of at most 16384 characters, without blanks around it",
)
ApnPasswordFile = _secret(
    lambda text: re.fullmatch(r"[^\s,\"'=]{1,64}", text) is not None,
    "a password without spaces, commas, quotes and '='",
)
PinFile = _secret(lambda text: re.fullmatch(r"\d{4,8}", text) is not None, "a PIN of 4 to 8 digits")
InterfaceAddress = Annotated[str, AfterValidator(_interface)]
Address = Annotated[str, AfterValidator(_address)]
Destination = Annotated[str, AfterValidator(_destination)]
Mac = _matching(
    r"^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}$", "a MAC address such as '52:54:00:12:34:56'"
)
CardName = _matching(
    r"^[A-Za-z0-9*?][A-Za-z0-9_.*?-]{0,14}$", "the name of a card or a pattern: 'enp1s0', 'en*'"
)
"""As in systemd.network(5), Name=."""
NetworkName = _matching(
    r"^[a-z0-9][a-z0-9_.-]{0,14}$",
    "a name of lower-case letters, digits, '_', '.' and '-', of at most 15",
)
"""Also the name of a VLAN's card: the kernel takes 15 characters."""
DomainName = _matching(
    r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$", "a domain such as 'plant.example.org'"
)
ServerName = _matching(
    r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]+)$",
    "the name or address of a server",
)
ServerUrl = _matching(
    rf"^https://{_HOST}/?$",
    "an address such as 'https://10.0.0.1:6443'",
)
EndpointUrl = _matching(
    rf"^https?://{_HOST}(/[A-Za-z0-9._/-]*)?$",
    "an address such as 'https://mirror.example.org:5000'",
)
NoProxy = _matching(
    r"^[A-Za-z0-9.:*/-]{1,253}$", "a host, a domain such as '.example.org', or a network"
)
Apn = _matching(
    r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,98}[A-Za-z0-9])?$", "an access point name such as 'internet'",
    repeated=False,
)  # fmt: skip
Word = _matching(
    r"^[^\s,\"'=:]{1,64}$", "a name without spaces, commas, colons, '=' and quotes",
    repeated=False,
)  # fmt: skip
Country = _matching(r"^[A-Z]{2}$", "the two letters of a country, such as 'DE'")
ProxyUrl = Annotated[str, AfterValidator(_proxy_url)]
Timezone = Annotated[str, AfterValidator(_timezone)]
Ssid = Annotated[str, AfterValidator(_ssid)]
