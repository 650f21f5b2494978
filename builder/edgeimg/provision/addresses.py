"""Addresses of settings: of cards, hosts, networks, proxies and servers."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

from edgeimg.provision.forms import matching
from edgeimg.provision.value_files import hushed
from edgeimg.recipe.harmless import PORT, V6

_MAC = (
    "[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{2}(-[0-9A-Fa-f]{2}){5}"
    r"|[0-9A-Fa-f]{4}([.:-][0-9A-Fa-f]{4}){2}|[0-9A-Fa-f]{6}[:-][0-9A-Fa-f]{6}|[0-9A-Fa-f]{12}"
)
_SHORT = "[0-9A-Fa-f]{1,2}((:[0-9A-Fa-f]{1,2}){5}|( [0-9A-Fa-f]{1,2}){5}|(-[0-9A-Fa-f]{1,2}){5})"
"""Of a MAC address: zeros in front of its parts may be missing, as BSD and Solaris print them."""
_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address
_SHEET = re.compile(r"\d([.,]\d+)?E[+-]?\d+", re.IGNORECASE).fullmatch
_LONGEST = 512
"""Characters of the address of a server that the gateway asks."""
_HOST = rf"(\[{V6}\]|[A-Za-z0-9][A-Za-z0-9.-]*)(:({PORT}))?"


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


def _is_address(text: str) -> bool:
    """Whether the host of an address is one, and the gateway's programs take its length."""
    return len(text) <= _LONGEST and _is_host(text)


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


_NO_PROXY = "[A-Za-z0-9.:*/-]{1,253}"
_ENDPOINT = (
    rf"(\[(?P<v6>{V6})\]|(?P<name>[A-Za-z0-9]([A-Za-z0-9.-]{{0,251}}[A-Za-z0-9])?))"
    rf":(?P<port>{PORT})"
)
PeerEndpoint = Annotated[str, AfterValidator(_endpoint)]
InterfaceAddress = Annotated[str, AfterValidator(_interface)]
Address = Annotated[str, AfterValidator(_address)]
Destination = Annotated[str, AfterValidator(_destination)]
Mac = Annotated[
    str, AfterValidator(mac), WithJsonSchema({"type": "string", "pattern": f"{_MAC}|{_SHORT}"})
]
"""In the form 52:54:00:12:34:56, however it was written."""
DomainName = matching(
    r"^[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?$", "a domain such as 'plant.example.org'"
)
ServerName = matching(
    r"^([A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9A-Fa-f:]+)$",
    "the name or address of a server",
    also=_is_host,
)
ServerUrl = matching(
    rf"^https://{_HOST}/?$",
    "an address such as 'https://10.0.0.1:6443'",
    also=_is_host,
)
EndpointUrl = matching(
    rf"^https?://{_HOST}(/[A-Za-z0-9._/-]*)?$",
    "an address such as 'https://mirror.example.org:5000'",
    also=_is_host,
)
RolloutUrl = matching(
    rf"^https?://{_HOST}(/[A-Za-z0-9._~/-]*)?$",
    "an address such as 'https://rollout.example.org'",
    also=_is_address,
)
UpdateUrl = matching(
    rf"^https?://{_HOST}(/[A-Za-z0-9._~/-]*)?$",
    "an address such as 'https://updates.example.org/gateway'",
    also=_is_address,
)
NoProxy = Annotated[
    str, AfterValidator(_no_proxy),
    WithJsonSchema({"type": "string", "pattern": f"^{_NO_PROXY}$"}),
]  # fmt: skip
ProxyUrl = Annotated[str, AfterValidator(_proxy_url)]
