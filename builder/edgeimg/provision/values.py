"""What the values of settings may be: types that check, and say what they expected.

Keys that end in `_file` or `_files` name files, relative to the settings (value_files.py).
"""

from __future__ import annotations

import re
import ssl
from typing import Annotated

from pydantic import (
    AfterValidator,
    BeforeValidator,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)

from edgeimg.provision import ssh_keys, zones
from edgeimg.provision.forms import matching
from edgeimg.provision.value_files import hushed, json_line, read, secret


def is_quotable(text: str) -> bool:
    """One line that can be put between quotes without escapes: all that the gateway's YAML has."""
    return text.isprintable() and ("'" not in text or not ('"' in text or "\\" in text))


def _hostname(text: str) -> str:
    expected = "expected a name of lower-case letters, digits and '-', of at most 63"
    if text.partition(".")[0] == "localhost":
        raise ValueError("expected a name of its own: every machine is localhost")
    if re.fullmatch(_HOSTNAME, text):
        return text
    close = re.sub("[_ ]", "-", text.partition(".")[0].lower())
    raise ValueError(expected + (f", as '{close}'" if re.fullmatch(_HOSTNAME, close) else ""))


def _ssh_key(text: str) -> str:
    if why := ssh_keys.fault(text.strip()):
        raise hushed(why)
    return ssh_keys.canonical(text)


def _ssh_keys(value: object, info: ValidationInfo) -> tuple[str, ...]:
    text = read(value, info)
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    keys = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not keys:
        raise hushed("the file that it names should hold public ssh keys, one a line")
    for number, key in keys:
        if why := ssh_keys.fault(key):
            where = f"line {number} of the file that it names"
            raise hushed(
                f"the file that it names should hold public ssh keys, one a line; {where}: {why}"
            )
    return tuple(ssh_keys.canonical(key) for _, key in keys)


def _certificates(value: object, info: ValidationInfo) -> str:
    text = read(value, info)
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
    text = read(value, info)
    if not text.startswith("#!/bin/sh"):
        raise hushed("the file that it names should be a shell script: '#!/bin/sh' comes first")
    return SecretStr(text)


def _timezone(name: str) -> str:
    if meant := zones.mistaken(name):
        raise hushed(f"{name} is east for people and west in rules: expected '{meant}' for {name}")
    if zones.is_rule(name) or name in zones.names():
        return name
    meant = zones.close(name)
    close = f"; did you mean '{meant}'?" if meant else ""
    raise hushed(f"expected a time zone such as 'Europe/Berlin', found {name[:40]!r}{close}")


def is_wifi_key(text: str) -> bool:
    """Whether it is the key that is made of a passphrase, as wpa_passphrase(8) prints it."""
    return re.fullmatch("[0-9A-Fa-f]{64}", text) is not None


def _is_passphrase(text: str) -> bool:
    return is_wifi_key(text) or (text.isascii() and 8 <= len(text) <= 63)


def _ssid(text: str) -> str:
    if not 1 <= len(text.encode()) <= 32 or not text.isprintable():
        raise ValueError("expected the name of a network, of 1 to 32 bytes")
    return text


def _country(text: str) -> str:
    if text not in zones.countries():
        # The kernel would stay with the few channels that are allowed everywhere.
        known = "expected the two letters of a country (ISO 3166), such as 'DE'"
        raise ValueError(known + (" or 'GB'" if text == "UK" else ""))
    return text


def _public_key(text: str) -> str:
    if not is_wireguard_key(text):
        # It may be a private key, cut off.
        raise hushed("expected a public key of WireGuard: 44 signs, as `wg pubkey` prints them")
    return text


def is_wireguard_key(text: str) -> bool:
    """Whether it is 32 bytes in base64 (RFC 4648), and not all zeros."""
    return re.fullmatch(_KEY, text) is not None and text.strip("A=") != ""


def _is_token(text: str) -> bool:
    return is_quotable(text) and " " not in text


_HOSTNAME = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_KEY = "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
Hostname = Annotated[
    str, AfterValidator(_hostname),
    WithJsonSchema({"type": "string", "pattern": f"^{_HOSTNAME}$"}),
]  # fmt: skip
SshKey = Annotated[str, AfterValidator(_ssh_key)]
SshKeyFile = Annotated[
    tuple[str, ...], BeforeValidator(_ssh_keys), WithJsonSchema({"type": "string"})
]
CertificateFile = Annotated[str, BeforeValidator(_certificates), WithJsonSchema({"type": "string"})]
ScriptFile = Annotated[SecretStr, BeforeValidator(_script), WithJsonSchema({"type": "string"})]
TokenFile = secret(_is_token, "a token, without spaces and without both kinds of quotes")
PassphraseFile = secret(
    _is_passphrase, "a passphrase of 8 to 63 characters (ASCII), or a key of 64 hex digits"
)
_PASSWORD = (
    lambda text: len(text) <= 16384 and text == text.strip(),
    "a password of at most 16384 characters, without blanks around it",
)
PasswordFile = secret(*_PASSWORD)
RegistryPasswordFile = secret(*_PASSWORD, before=json_line)
ApnPasswordFile = secret(  # a proxy's, a registry's
    lambda text: re.fullmatch(r"[^\s,\"'=]{1,64}", text) is not None,
    "a password without spaces, commas, quotes and '='",
)
RolloutTokenFile = secret(
    lambda text: re.fullmatch(r"[A-Za-z0-9._~+/=-]{1,128}", text) is not None,
    "a token of at most 128 letters, digits and signs of '._~+/=-'",
)
PinFile = secret(lambda text: re.fullmatch(r"\d{4,8}", text) is not None, "a PIN of 4 to 8 digits")
_WIREGUARD_KEY = "a key of WireGuard: 44 signs, as `wg genkey` prints them"
PrivateKeyFile = secret(is_wireguard_key, _WIREGUARD_KEY)
PresharedKeyFile = secret(is_wireguard_key, _WIREGUARD_KEY)
PublicKey = Annotated[
    str, AfterValidator(_public_key),
    WithJsonSchema({"type": "string", "pattern": f"^{_KEY}$"}),
]  # fmt: skip
CardName = matching(
    r"^[A-Za-z0-9*?][A-Za-z0-9_.*?-]{0,14}$",
    "the name of a card, of at most 15 characters, or a pattern: 'enp1s0', 'en*'",
)
"""As in systemd.network(5), Name=."""
NetworkName = matching(
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$",
    "a name of letters, digits, '_', '.' and '-', of at most 40",
)
"""Part of the name of a file; of a VLAN, a bond or a bridge also the device's."""
Tenant = matching(
    r"^[A-Za-z0-9._-]{1,64}$", "a name of letters, digits, '.', '_' and '-', of at most 64"
)
Site = matching(
    r"^[A-Za-z0-9._:-]{1,64}$", "a name of letters, digits, '.', '_', ':' and '-', of at most 64"
)
Apn = matching(
    r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,98}[A-Za-z0-9])?$", "an access point name such as 'internet'",
    repeated=False,
)  # fmt: skip
Word = matching(
    r"^[^\s,\"'=:]{1,64}$", "a name without spaces, commas, colons, '=' and quotes",
    repeated=False,
)  # fmt: skip
Country = Annotated[
    str, AfterValidator(_country), WithJsonSchema({"type": "string", "pattern": "^[A-Z]{2}$"})
]
Timezone = Annotated[str, AfterValidator(_timezone)]
Ssid = Annotated[str, AfterValidator(_ssid)]
