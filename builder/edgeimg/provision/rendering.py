"""Settings → the files of the config partition (docs/how-to/provisioning.md). Pure."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from edgeimg.provision import network_files, zones
from edgeimg.provision.k3s import Value, server_host
from edgeimg.provision.networks import only_address
from edgeimg.provision.settings import (
    Lte,
    Proxy,
    Registry,
    Rollout,
    Settings,
    Wifi,
    WifiNetwork,
)
from edgeimg.provision.value_files import LIMIT
from edgeimg.provision.values import is_wifi_key
from edgeimg.provision.wireguard import Peer, Wireguard

DIRECTORY = "edgeimg"
"""On the config partition; everything of ours is in it."""
SECRET = (
    "k3s.yaml", "wireguard.conf", "wifi.conf", "lte.conf", "proxy.conf", "registries.conf",
    "rollout.conf", "script",
)  # fmt: skip
"""Files that the gateway wipes when it has taken them over."""
SIGNED = ("settings.sums", "settings.sums.gpg")
"""Digests of a signed set, and their signature; the gateway wipes them, too."""
NAMES = (
    "hostname", "authorized_keys", "ntp", "timezone", "update.conf", *SECRET,
    "network", "ca", "registry-ca",
)  # fmt: skip
"""Files and directories in DIRECTORY. The gateway's own list is in its script `provision`."""
MOST_FILES = 190
"""The gateway takes 200 names: directories, signatures and a README count as well."""
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ufeff]")
_TABS = ("authorized_keys", "ntp", "network", "ca", "registry-ca", "wifi.conf", "script")
"""Files and directories that may hold tabs."""
_WPA = {
    "wpa2": ("WPA-PSK", 1),
    "wpa3": ("SAE", 2),
    "wpa2/wpa3": ("WPA-PSK SAE", 1),
    "open": ("NONE", 0),
}
"""key_mgmt and ieee80211w (protected management frames) of wpa_supplicant.conf(5)."""


def files(settings: Settings) -> dict[str, bytes]:
    """The files of the config partition, by path. Those named in SECRET hold secrets."""
    return {f"{DIRECTORY}/{path}": text.encode() for path, text in _texts(settings)}


def refused(path: str, content: bytes) -> str | None:
    """Why a gateway would not take a file with this content, as its script `provision` decides."""
    if len(content) > LIMIT:
        return f"would be {len(content)} bytes on the gateway, which takes {LIMIT} at most"
    name = path.removeprefix(f"{DIRECTORY}/").partition("/")[0]
    text = content.decode()
    if _CONTROL.search(text) or ("\t" in text and name not in _TABS):
        return "would hold control characters, which the gateway does not take"
    return None


def _texts(settings: Settings) -> Iterator[tuple[str, str]]:
    if settings.hostname:
        yield "hostname", f"{settings.hostname}\n"
    keys = [*settings.ssh_keys, *(key for file in settings.ssh_key_files for key in file)]
    if keys:
        yield "authorized_keys", _lines(dict.fromkeys(keys))
    if settings.ntp:
        yield "ntp", _lines(settings.ntp)
    if settings.timezone:
        yield "timezone", f"# {settings.timezone}\n{zones.rule(settings.timezone)}\n"
    for number, certificates in enumerate(settings.ca, 1):
        yield f"ca/{number:02}.crt", certificates
    if settings.script:
        yield "script", settings.script.get_secret_value()
    yield from network_files.texts(settings.network)
    if settings.wireguard:
        yield "wireguard.conf", _wireguard(settings.wireguard)
    if settings.wifi:
        yield "wifi.conf", _wifi(settings.wifi)
    if settings.lte:
        yield "lte.conf", _lte(settings.lte)
    if settings.proxy:
        yield "proxy.conf", _proxy(settings.proxy, settings)
    if settings.k3s and (options := settings.k3s.options()):
        if address := only_address(settings.network):
            options.setdefault("node-ip", address)
        lines = (f"{name}:{_yaml(value)}" for name, value in sorted(options.items()))
        yield "k3s.yaml", _lines(lines)
    yield from _registries(settings.registries)
    if settings.rollout:
        yield "rollout.conf", _rollout(settings.rollout)
    if settings.update:
        yield "update.conf", f"URL={settings.update.url}\n"


def _lines(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def _yaml(value: Value) -> str:
    """A value in the form of YAML that the gateway takes: always quoted, so a text stays one."""
    if isinstance(value, tuple):
        return "".join(f"\n  - {_quoted(item)}" for item in value)
    return f" {_quoted(str(value))}"


def _quoted(text: str) -> str:
    mark = "'" if '"' in text or "\\" in text else '"'
    return f"{mark}{text}{mark}"


def _wireguard(wireguard: Wireguard) -> str:
    """A file of wg-quick(8). Without PrivateKey, the gateway makes one."""
    key = wireguard.private_key
    lines = [f"PrivateKey = {key.get_secret_value()}"] if key else []
    lines += [f"Address = {address}" for address in wireguard.addresses]
    lines += [f"ListenPort = {wireguard.listen_port}"] if wireguard.listen_port else []
    lines += [f"DNS = {server}" for server in wireguard.dns]
    lines += [f"MTU = {wireguard.mtu}"] if wireguard.mtu else []
    return "\n".join(["[Interface]\n" + _lines(lines), *map(_wireguard_peer, wireguard.peers)])


def _wireguard_peer(peer: Peer) -> str:
    key = peer.preshared_key
    lines = [f"PublicKey = {peer.public_key}"]
    lines += [f"PresharedKey = {key.get_secret_value()}"] if key else []
    lines += [f"Endpoint = {peer.endpoint}"] if peer.endpoint else []
    lines += [f"AllowedIPs = {network}" for network in peer.allowed_ips]
    lines += [f"PersistentKeepalive = {peer.keepalive}"] if peer.keepalive else []
    return "[Peer]\n" + _lines(lines)


def _wifi(wifi: Wifi) -> str:
    return "\n".join([f"country={wifi.country}\n", *map(_wifi_network, wifi.networks)])


def _wifi_network(network: WifiNetwork) -> str:
    """A block of wpa_supplicant.conf(5), without its quotes: they have no escapes, and what is
    behind a second one may be taken for a comment. The key of WPA2 is IEEE 802.11i's (H.4)."""
    management, protected = _WPA[network.security]
    lines = [f"ssid={network.ssid.encode().hex()}", f"key_mgmt={management}"]
    if network.passphrase:
        word = network.passphrase.get_secret_value().encode()
        if is_wifi_key(word.decode()):
            lines.append(f"psk={word.decode().lower()}")
        elif "WPA-PSK" in management:
            key = hashlib.pbkdf2_hmac("sha1", word, network.ssid.encode(), 4096, 32)
            lines.append(f"psk={key.hex()}")
        if "SAE" in management:
            lines.append(f"sae_password={word.hex()}")
        lines.append(f"ieee80211w={protected}")
    lines += ["scan_ssid=1"] if network.hidden else []
    lines += [f"priority={network.priority}"] if network.priority else []
    return f"# {network.ssid}\nnetwork={{\n" + "".join(f"\t{line}\n" for line in lines) + "}\n"


def _lte(lte: Lte) -> str:
    """What `mmcli --simple-connect` takes."""
    pairs = {
        "apn": lte.apn,
        "user": lte.user,
        "password": lte.password and lte.password.get_secret_value(),
        "pin": lte.pin and lte.pin.get_secret_value(),
    }
    return ",".join(f"{key}={value}" for key, value in pairs.items() if value) + "\n"


def _proxy(proxy: Proxy, settings: Settings) -> str:
    """An environment file (systemd.exec(5)); the gateway adds the cluster's networks."""
    http = proxy.http or proxy.https or ""
    pairs = {"HTTP_PROXY": http, "HTTPS_PROXY": proxy.https or http}
    lines = [f"{name}={_with_user(url, proxy)}" for name, url in pairs.items()]
    server = settings.k3s.server if settings.k3s else None
    spared = [*proxy.no_proxy, *([server_host(server)] if server else [])]
    return _lines([*lines, f"NO_PROXY={','.join(dict.fromkeys(spared))}"])


def _rollout(rollout: Rollout) -> str:
    """What the roll-out agent reads: lines KEY=value."""
    values = {
        "SERVER": rollout.server,
        "TENANT": rollout.tenant,
        "SITE": rollout.site,
        "TOKEN": rollout.token.get_secret_value(),
    }
    return _lines(f"{key}={value}" for key, value in values.items() if value)


def _with_user(url: str, proxy: Proxy) -> str:
    if proxy.user is None or proxy.password is None:
        return url.rstrip("/")
    scheme, _, host = url.rstrip("/").partition("://")
    word = quote(proxy.password.get_secret_value(), safe="*")
    return f"{scheme}://{quote(proxy.user, safe='')}:{word}@{host}"


def _registries(registries: dict[str, Registry]) -> Iterator[tuple[str, str]]:
    blocks = []
    for number, (name, registry) in enumerate(registries.items(), 1):
        lines = [f"endpoint={endpoint}" for endpoint in registry.endpoints]
        if registry.user and registry.password:
            lines += [f"user={registry.user}", f"password={registry.password.get_secret_value()}"]
        if registry.ca:
            lines.append(f"ca={number:02}.crt")
            yield f"registry-ca/{number:02}.crt", registry.ca
        lines += ["insecure=yes"] if registry.insecure else []
        blocks.append(f"[{name}]\n" + _lines(lines))
    if blocks:
        yield "registries.conf", "\n".join(blocks)
