"""What the values of settings may be: types that check, and say what they expected.

Keys that end in `_file` or `_files` name files, relative to the settings (value_files.py).
"""

from __future__ import annotations

import ipaddress
import re
import ssl
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BeforeValidator,
    SecretStr,
    ValidationInfo,
    WithJsonSchema,
)

from edgeimg.provision import ssh_keys, zones
from edgeimg.provision.value_files import hushed, json_line, read, secret
from edgeimg.recipe.harmless import PORT, V6

_MAC = (
    "[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}(-[0-9A-Fa-f]{2}){5}"
    r"|[0-9A-Fa-f]{4}([.:-][0-9A-Fa-f]{4}){2}|[0-9A-Fa-f]{6}[:-][0-9A-Fa-f]{6}|[0-9A-Fa-f]{12}"
)
_SHORT = "[0-9A-Fa-f]{1,2}((:[0-9A-Fa-f]{1,2}){5}|( [0-9A-Fa-f]{1,2}){5}|(-[0-9A-Fa-f]{1,2}){5})"
"""Of a MAC address: zeros in front of its parts may be missing, as BSD and Solaris print them."""
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
_SHEET = re.compile(r"\d([.,]\d+)?E[+-]?\d+", re.IGNORECASE).fullmatch
_HOST = rf"(\[{V6}\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:({PORT}))?"


def is_quotable(text: str) -> bool:
    """One line that can be put between quotes without escapes: all that the gateway's YAML has."""
    return text.isprintable() and ("'" not in text or not ('"' in text or "\\" in text))


def _is_host(text: str) -> bool:
    """Whether the host of an address, or a text alone, is a name or a whole IP address."""
    match = re.match(r"(?:https?://)?(\[[^]]*\]|[^/:]*(?::[^/]*:[^/]*)?)", text)
    host = match[1].strip("[]") if match else ""
    if ":" not in host and not re.fullmatch("[0-9.]+", host):
        return ".." not in host
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _matching(pattern: str, expected: str, *, repeated: bool = True, host: bool = False) -> Any:
    """A text of one form. Schemas tell the form, people are told what is expected.

    What is not `repeated` in errors may have a password in it, when somebody puts one there. With
    `host`, it is the address of a host, which may be an IP address.
    """
    form = re.compile(pattern)

    def checked(text: str) -> str:
        if not form.fullmatch(text) or (host and not _is_host(text)):
            why = f"expected {expected}"
            raise ValueError(why) if repeated else hushed(why)
        return text

    described = {"type": "string", "pattern": pattern}
    return Annotated[str, AfterValidator(checked), WithJsonSchema(described)]


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
    return text.strip()


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
    return tuple(key for _, key in keys)


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


def _interface(text: str) -> str:
    _no_scope(text)
    try:
        found = ipaddress.ip_interface(text if "/" in text else "")
    except ValueError:
        raise ValueError("expected an address with its prefix, such as '192.168.1.2/24'") from None
    if found.network.prefixlen == 0:
        raise ValueError("expected the prefix of a network, such as /24")
    _of_one_host(found.ip)
    if found.is_loopback:
        raise ValueError("expected an address for a card: this one is the gateway itself")
    return str(found)


def _of_one_host(address: _Ip) -> None:
    """Raises ValueError for an address that no host has."""
    mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped
    if mapped:
        raise ValueError(f"expected '{mapped}'")
    if address.is_unspecified or address.is_multicast or str(address) == "255.255.255.255":
        raise ValueError("expected the address of one host")


def _no_scope(text: str) -> None:
    """The card of a link-local address is that of its table."""
    if "%" in text:
        raise hushed(f"expected '{text.partition('%')[0]}', without the name of a card")


def _address(text: str) -> str:
    _no_scope(text)
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError("expected an address such as '192.168.1.1'") from None
    _of_one_host(found)
    return str(found)


def _destination(text: str) -> str:
    _no_scope(text)
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        pass
    try:
        meant = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise ValueError("expected a network such as '10.0.0.0/8'") from None
    raise ValueError(f"expected a network such as '{meant}'")


def mac(text: str) -> str:
    """A MAC address in the form 52:54:00:12:34:56. Raises ValueError."""
    text = text.strip(" ").removeprefix("0x")
    if re.fullmatch(_SHORT, text):
        text = ":".join(part.zfill(2) for part in re.split("[: -]", text))
    digits = re.sub("[:.-]", "", text)
    if not re.fullmatch(_MAC, text):
        why = "; a spreadsheet has changed it: format the column as text" if _SHEET(text) else ""
        raise ValueError(f"expected a MAC address such as '52:54:00:12:34:56'{why}")
    if int(digits, 16) == 0 or int(digits[:2], 16) & 1:
        raise ValueError("expected the MAC address of one card: not zeros, no multicast")
    return ":".join(digits[at : at + 2] for at in range(0, 12, 2))


def _proxy_url(text: str) -> str:
    if "@" in text:
        raise hushed("name user and password apart from the address: 'user', 'password_file'")
    if text.startswith("socks"):
        raise ValueError("expected a proxy for http: containerd and K3s do not speak SOCKS here")
    if not re.fullmatch(rf"https?://{_HOST}/?", text) or not _is_host(text):
        raise ValueError("expected an address such as 'http://proxy.lan:3128'")
    return text


def _no_proxy(text: str) -> str:
    """What golang.org/x/net/http/httpproxy understands: it skips the rest without a word."""
    if "://" in text:
        raise ValueError("expected a host alone, without 'https://'")
    if text.startswith("["):
        raise ValueError("expected an IPv6 address without brackets")
    if not re.fullmatch(_NO_PROXY, text):
        raise ValueError("expected a host, a domain such as '.example.org', or a network")
    if "/" in text:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError("expected a network such as '10.0.0.0/8'") from None
    elif re.fullmatch("[0-9.*-]*[0-9][0-9.*-]*", text) and (
        not {"*", "-"}.isdisjoint(text) or not _is_host(text)
    ):
        raise ValueError("expected an address, or a network such as '10.0.0.0/8'")
    elif "*" in text[1:]:
        raise ValueError("expected a domain such as '.example.org'")
    return text


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


def _public_key(text: str) -> str:
    if not is_wireguard_key(text):
        # It may be a private key, cut off.
        raise hushed("expected a public key of WireGuard: 44 signs, as `wg pubkey` prints them")
    return text


def is_wireguard_key(text: str) -> bool:
    """Whether it is 32 bytes in base64 (RFC 4648), and not all zeros."""
    return re.fullmatch(_KEY, text) is not None and text.strip("A=") != ""


def _endpoint(text: str) -> str:
    expected = "expected HOST:PORT, such as 'vpn.example.org:51820' or '[2001:db8::1]:51820'"
    found = re.fullmatch(_ENDPOINT, text)
    if found is None:
        raise ValueError(expected)
    if found["v6"] or re.fullmatch("[0-9.]+", found["name"]):
        try:
            ipaddress.ip_address(found["v6"] or found["name"])
        except ValueError:
            raise ValueError(expected) from None
    return text


def _is_token(text: str) -> bool:
    return is_quotable(text) and " " not in text


_NO_PROXY = "[A-Za-z0-9.:*/-]{1,253}"
_HOSTNAME = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_KEY = "[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]="
_ENDPOINT = (
    rf"(\[(?P<v6>{V6})\]|(?P<name>[A-Za-z0-9]([A-Za-z0-9.-]{{0,251}}[A-Za-z0-9])?))"
    rf":(?P<port>{PORT})"
)
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
PeerEndpoint = Annotated[str, AfterValidator(_endpoint)]
InterfaceAddress = Annotated[str, AfterValidator(_interface)]
Address = Annotated[str, AfterValidator(_address)]
Destination = Annotated[str, AfterValidator(_destination)]
Mac = Annotated[
    str, AfterValidator(mac), WithJsonSchema({"type": "string", "pattern": f"{_MAC}|{_SHORT}"})
]
"""In the form 52:54:00:12:34:56, however it was written."""
CardName = _matching(
    r"^[A-Za-z0-9*?][A-Za-z0-9_.*?-]{0,14}$",
    "the name of a card, of at most 15 characters, or a pattern: 'enp1s0', 'en*'",
)
"""As in systemd.network(5), Name=."""
NetworkName = _matching(
    r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$",
    "a name of letters, digits, '_', '.' and '-', of at most 40",
)
"""Part of the name of a file; of a VLAN, a bond or a bridge also the device's."""
DomainName = _matching(
    r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$", "a domain such as 'plant.example.org'"
)
ServerName = _matching(
    r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]+)$",
    "the name or address of a server",
    host=True,
)
ServerUrl = _matching(
    rf"^https://{_HOST}/?$",
    "an address such as 'https://10.0.0.1:6443'",
    host=True,
)
EndpointUrl = _matching(
    rf"^https?://{_HOST}(/[A-Za-z0-9._/-]*)?$",
    "an address such as 'https://mirror.example.org:5000'",
    host=True,
)
RolloutUrl = _matching(
    rf"^https?://{_HOST}(/[A-Za-z0-9._~/-]*)?$",
    "an address such as 'https://rollout.example.org'",
    host=True,
)
Tenant = _matching(
    r"^[A-Za-z0-9._-]{1,64}$", "a name of letters, digits, '.', '_' and '-', of at most 64"
)
Site = _matching(
    r"^[A-Za-z0-9._:-]{1,64}$", "a name of letters, digits, '.', '_', ':' and '-', of at most 64"
)
NoProxy = Annotated[
    str, AfterValidator(_no_proxy),
    WithJsonSchema({"type": "string", "pattern": f"^{_NO_PROXY}$"}),
]  # fmt: skip
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
