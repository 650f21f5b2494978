"""[wireguard]: what is refused, what the gateway makes of it, and what networkd reads there.

The kernel of a test host may have no WireGuard: tests/boot/test_wireguard.py has two gateways.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from edgeimg.errors import ProvisionError
from edgeimg.fleet import reading as fleets
from edgeimg.provision import advice, masking, nocloud
from edgeimg.provision.rendering import files
from edgeimg.provision.settings import Settings
from pydantic import SecretStr, ValidationError

from tests.gateway_root import BASE, Root, programs
from tests.keys import wireguard_public

KEYS = [base64.b64encode(hashlib.sha256(bytes([number])).digest()).decode() for number in range(9)]
PRIVATE, PUBLIC, SHARED, OTHER = KEYS[:4]
ZEROS = base64.b64encode(bytes(32)).decode()
PEER = {"public_key": PUBLIC, "endpoint": "vpn.example.org:51820", "allowed_ips": ["10.8.0.0/24"]}
TUNNEL: dict[str, Any] = {"addresses": ["10.8.0.2/24"], "peers": [PEER]}
WHOLE: dict[str, Any] = {
    "private_key_file": SecretStr(PRIVATE),
    "addresses": ["10.8.0.2/24", "fd00:8::2/64"],
    "listen_port": 51820,
    "dns": ["10.8.0.1"],
    "mtu": 1380,
    "peers": [
        {**PEER, "preshared_key_file": SecretStr(SHARED), "keepalive": 25},
        {"public_key": OTHER, "endpoint": "[2001:db8::1]:51820", "allowed_ips": ["fd00:9::/64"]},
    ],
}
CONF = f"""\
# As a VPN server hands it out.
[Interface]
PrivateKey = {PRIVATE}
Address = 10.8.0.2/24, fd00:8::2/64
ListenPort=51820
DNS = 10.8.0.1
MTU = 1380

[Peer]
PublicKey = {PUBLIC}
PresharedKey = {SHARED}
AllowedIPs = 10.8.0.0/24
Endpoint = vpn.example.org:51820
PersistentKeepalive = 25   # seconds

[peer]
publickey = {OTHER}
endpoint = [2001:db8::1]:51820
allowedips = fd00:9::/64
"""
NETDEV = f"""\
[NetDev]
Name=wg0
Kind=wireguard

[WireGuard]
PrivateKey={PRIVATE}
ListenPort=51820
RouteTable=main

[WireGuardPeer]
PublicKey={PUBLIC}
PresharedKey={SHARED}
Endpoint=vpn.example.org:51820
AllowedIPs=10.8.0.0/24
PersistentKeepalive=25

[WireGuardPeer]
PublicKey={OTHER}
Endpoint=[2001:db8::1]:51820
AllowedIPs=fd00:9::/64
"""
NETWORK = """\
[Match]
Name=wg0

[Network]
DHCP=no
IPv6AcceptRA=no
LinkLocalAddressing=no
Address=10.8.0.2/24
Address=fd00:8::2/64
DNS=10.8.0.1

[Link]
MTUBytes=1380
RequiredForOnline=no
"""


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def of(wireguard: Mapping[str, Any], **more: Any) -> Settings:
    return Settings.model_validate({"wireguard": wireguard, **more})


def peer(**more: Any) -> dict[str, Any]:
    """The tunnel with other values of its peer; those that are None are left out."""
    found = {key: value for key, value in {**PEER, **more}.items() if value is not None}
    return {**TUNNEL, "peers": [found]}


SECOND = {"public_key": OTHER, "endpoint": "a:1", "allowed_ips": ["10.9.0.0/24"]}
WRONG: list[tuple[dict[str, Any], str]] = [
    (peer(public_key="hush"), "as `wg pubkey` prints"),
    (peer(public_key=PUBLIC[:-1]), "as `wg pubkey` prints"),
    (peer(public_key=f"{PUBLIC[:-2]}B="), "as `wg pubkey` prints"),
    (peer(public_key=ZEROS), "as `wg pubkey` prints"),
    (peer(preshared_key_file=SecretStr(ZEROS)), "as `wg genkey` prints"),
    (peer(preshared_key_file=SecretStr(PUBLIC)), "each key has one use"),
    ({**TUNNEL, "private_key_file": SecretStr("hush")}, "as `wg genkey` prints"),
    ({**TUNNEL, "private_key_file": SecretStr(PUBLIC)}, "each key has one use"),
    ({**TUNNEL, "peers": [PEER, {**SECOND, "public_key": PUBLIC}]}, "is the public key of peers.0"),
    ({**TUNNEL, "peers": [PEER, {**SECOND, "allowed_ips": ["10.8.0.128/25"]}]}, "overlaps 10.8.0"),
    ({**TUNNEL, "peers": []}, "at least 1"),
    (peer(allowed_ips=[]), "at least 1"),
    (peer(allowed_ips=["0.0.0.0/0"]), "is everything"),
    (peer(allowed_ips=["::/0"]), "is everything"),
    (peer(allowed_ips=["10.8.0.1/24"]), "such as '10.8.0.0/24'"),
    (peer(endpoint="10.8.0.1:51820"), "through the tunnel itself"),
    (peer(endpoint=None), "or 'listen_port'"),
    (peer(endpoint="vpn.example.org"), "expected HOST:PORT"),
    (peer(endpoint="vpn.example.org:65536"), "expected HOST:PORT"),
    (peer(endpoint="2001:db8::1:51820"), "expected HOST:PORT"),
    (peer(endpoint="10.0.0.300:51820"), "expected HOST:PORT"),
    (peer(keepalive=0), "greater than or equal to 1"),
    ({**TUNNEL, "addresses": []}, "at least 1"),
    ({**TUNNEL, "addresses": ["10.8.0.2"]}, "with its prefix"),
    ({**TUNNEL, "addresses": ["10.8.0.0/24"]}, "is the address of the network"),
    ({**TUNNEL, "addresses": ["10.8.0.2/24", "10.8.0.2/32"]}, "is there twice"),
    ({**TUNNEL, "mtu": 500}, "greater than or equal to 576"),
    ({**TUNNEL, "mtu": 1279, "addresses": ["fd00::2/64"]}, "expected 1280 at least"),
    ({**TUNNEL, "listen_port": 65536}, "less than or equal to 65535"),
]  # fmt: skip


@pytest.mark.parametrize(("wireguard", "reported"), WRONG, ids=[reported for _, reported in WRONG])
def test_what_is_wrong_is_refused_and_no_key_is_repeated(
    wireguard: dict[str, Any], reported: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        of(wireguard)
    # What is printed: text/validation.py leaves tables out, which pydantic's own text has.
    messages = [error["msg"] for error in caught.value.errors()]
    assert any(reported in message for message in messages), messages
    assert not any(key in message for key in KEYS for message in messages)


@pytest.mark.parametrize(
    "wireguard",
    [
        WHOLE, TUNNEL, peer(endpoint="10.0.0.1:1"), {**peer(endpoint=None), "listen_port": 1},
        {**TUNNEL, "mtu": 576}, {**TUNNEL, "mtu": 1280, "addresses": ["fd00::2/64"]},
        {**TUNNEL, "peers": [PEER, SECOND]}, {**TUNNEL, "addresses": ["10.8.0.2/32"]},
        {**TUNNEL, "peers": [{**one, "preshared_key_file": SecretStr(SHARED)}
                             for one in (PEER, SECOND)]},
        peer(allowed_ips=["10.8.0.0/24", "10.8.0.7/32"]),
    ],
)  # fmt: skip
def test_what_is_right_is_taken_by_both_sides(root: Root, wireguard: dict[str, Any]) -> None:
    root.put(files(of(wireguard)))
    assert root.start() == ""


@pytest.mark.parametrize("written", ["settings", "by hand"])
def test_the_gateway_makes_files_for_networkd(root: Root, written: str) -> None:
    by_hand = {"edgeimg/wireguard.conf": CONF.encode()}
    root.put(files(of(WHOLE)) if written == "settings" else by_hand)
    assert root.start() == ""
    assert root.read("run/systemd/network/05-wg0.netdev") == NETDEV
    assert root.read("run/systemd/network/05-wg0.network") == NETWORK
    device = (root.path / "run/systemd/network/05-wg0.netdev").stat()
    assert device.st_mode & 0o777 == 0o640
    assert not (root.path / "run/edgeimg/wireguard.pub").exists()
    assert not (root.path / "var/lib/edgeimg/provision-wireguard").exists()
    for key in (PRIVATE, SHARED):
        assert root.holders(key) == {
            "var/lib/edgeimg/provision/wireguard.conf", "run/systemd/network/05-wg0.netdev",
        }  # fmt: skip
    # Nothing was left on the card; at the next start it is the same.
    assert list(root.config.iterdir()) == []
    assert root.start() == ""
    assert root.read("run/systemd/network/05-wg0.netdev") == NETDEV


@pytest.mark.parametrize(
    ("line", "instead", "reported"),
    [
        (f"PrivateKey = {PRIVATE}", f"PrivateKey = {PUBLIC}", "line 10: this key is used"),
        (f"PrivateKey = {PRIVATE}", f"PrivateKey = {ZEROS}", "line 3: this key is all zeros"),
        (f"PublicKey = {PUBLIC}", f"PublicKey = {PUBLIC[1:]}", "line 10: expected a key"),
        (f"PublicKey = {PUBLIC}", f"PublicKey = {PUBLIC[:-2]}B=", "line 10: expected a key"),
        (f"PublicKey = {PUBLIC}", "", "peer 1: expected PublicKey"),
        (f"publickey = {OTHER}", f"publickey = {PUBLIC}", "line 17: this key is used"),
        (f"PresharedKey = {SHARED}", f"PresharedKey = {PRIVATE}", "line 11: this key is used"),
        ("10.8.0.2/24,", "10.8.0.2,", "line 4: expected an address with its prefix"),
        ("10.8.0.2/24,", "10.8.0.255/24,", "line 4: expected the address of a host"),
        ("10.8.0.2/24,", "10.8.0.2/24, 10.8.0.2/32,", "line 4: this address is there twice"),
        ("ListenPort=51820", "ListenPort=0", "line 5: expected a port"),
        ("DNS = 10.8.0.1", "DNS = lan", "line 6: expected the address of a name server"),
        ("MTU = 1380", "MTU = 1279", "MTU: expected 1280 at least"),
        ("MTU = 1380", "MTU = 99", "line 7: expected a number of bytes"),
        ("MTU = 1380", "PostUp = reboot", "line 7: expected PrivateKey, Address"),
        ("MTU = 1380", "Table = off", "line 7: expected PrivateKey, Address"),
        ("MTU = 1380", "MTU 1380", "line 7: expected Key = value"),
        ("MTU = 1380", "ListenPort = 1", "line 7: this is there twice"),
        ("10.8.0.0/24", "0.0.0.0/0", "line 12: this is everything"),
        ("10.8.0.0/24", "10.8.0.1/24", "line 12: expected a network such as"),
        ("10.8.0.0/24", "fd00:9::/72", "line 19: this network overlaps"),
        ("10.8.0.0/24", "10.8.0.0/33", "line 12: expected a network"),
        ("allowedips = fd00:9::/64", "", "peer 2: expected AllowedIPs"),
        ("vpn.example.org:51820", "vpn.example.org", "line 13: expected HOST:PORT"),
        ("vpn.example.org:51820", "vpn.example.org:65536", "line 13: expected HOST:PORT"),
        ("vpn.example.org:51820", "10.8.0.9:51820", "peer 1: Endpoint is in AllowedIPs"),
        ("[2001:db8::1]", "[fd00:9::0:1]", "peer 2: Endpoint is in AllowedIPs"),
        ("[2001:db8::1]", "2001:db8::1", "line 18: expected HOST:PORT"),
        ("Keepalive = 25", "Keepalive = 0", "line 14: expected a number of seconds"),
        ("[peer]", "[Interface]", "line 16: expected [Interface] first, and once"),
        ("[peer]", "[Pear]", "line 16: unknown section"),
        ("[Interface]", "", "line 3: expected [Interface] first"),
    ],
)  # fmt: skip
def test_the_gateway_refuses_by_the_line(
    root: Root, line: str, instead: str, reported: str
) -> None:
    assert line in CONF
    root.put({"edgeimg/wireguard.conf": CONF.replace(line, instead, 1).encode()})
    problem = root.start()
    assert problem.startswith(f"wireguard.conf: {reported}")
    assert not any(key in problem for key in KEYS)
    assert not (root.path / "run/systemd/network/05-wg0.netdev").exists()
    root.put({"edgeimg/wireguard.conf": CONF.encode()})
    assert root.start() == ""


def test_keys_do_not_go_into_files_of_networks(root: Root) -> None:
    text = f"[NetDev]\nName=wg1\nKind=wireguard\n[WireGuard]\nPrivateKey={PRIVATE}\n"
    root.put({"edgeimg/network/20-wg1.netdev": text.encode()})
    assert "line 4: WireGuard has a file of its own, wireguard.conf" in root.start()


def made_of(raw: bytes) -> dict[str, str]:
    """What the gateway makes of random bytes."""
    done = subprocess.run(
        ["awk", "-f", BASE / "usr/lib/edgeimg/wireguard-key.awk"], text=True, check=True,
        input=" ".join(map(str, raw)), capture_output=True, env={"PATH": programs()},
    )  # fmt: skip
    return dict(line.split("=", 1) for line in done.stdout.splitlines())


@pytest.mark.parametrize("raw", [bytes(32), b"\xff" * 32, *(os.urandom(32) for _ in range(2))],
                         ids=["zeros", "ones", "random", "random again"])  # fmt: skip
def test_its_public_key_is_openssls(raw: bytes) -> None:
    made = made_of(raw)
    private = base64.b64decode(made["PrivateKey"], validate=True)
    assert (private[0] & 7, private[31] >> 6) == (0, 1)
    assert private[1:31] == raw[1:31]
    assert made["PublicKey"] == wireguard_public(raw) == wireguard_public(private)


def test_the_gateway_makes_a_key_once_and_shows_the_public_one(root: Root) -> None:
    root.put(files(of(TUNNEL)))
    assert root.start() == ""
    shown = root.read("run/edgeimg/wireguard.pub")
    device = root.read("run/systemd/network/05-wg0.netdev")
    (private,) = (line[11:] for line in device.splitlines() if line.startswith("PrivateKey="))
    assert shown == wireguard_public(base64.b64decode(private)) + "\n"
    assert root.holders(private) == {
        "var/lib/edgeimg/provision-wireguard", "run/systemd/network/05-wg0.netdev",
    }  # fmt: skip
    assert (root.path / "var/lib/edgeimg/provision-wireguard").stat().st_mode & 0o777 == 0o600
    assert (root.path / "run/edgeimg/wireguard.pub").stat().st_mode & 0o777 == 0o644
    # Other settings, the same key; one of the settings goes first.
    root.put(files(of({**TUNNEL, "addresses": ["10.8.0.3/24"]})))
    assert root.start() == ""
    assert private in root.read("run/systemd/network/05-wg0.netdev")
    root.put(files(of(WHOLE)))
    assert root.start() == ""
    assert root.read("run/systemd/network/05-wg0.netdev") == NETDEV
    assert not (root.path / "run/edgeimg/wireguard.pub").exists()


def facts(root: Root, command: str) -> str:
    script = f'root={root.path}; . "$root/usr/lib/edgeimg/facts.sh"; {command}'
    done = subprocess.run(
        ["sh", "-c", script], capture_output=True, text=True, check=True, env={"PATH": programs()}
    )
    return done.stdout


def test_the_state_of_the_tunnel(root: Root) -> None:
    assert facts(root, "wireguard; wireguard_key || :") == ""
    root.put(files(of(TUNNEL)))
    root.start()
    assert facts(root, "wireguard") == "the device wg0 is missing\n"
    statistics = root.path / "sys/class/net/wg0/statistics"
    statistics.mkdir(parents=True)
    (statistics / "tx_bytes").write_text("4096\n")
    for received, reported in (("0", "no answer from a peer yet"),
                           ("12288", "12 KiB received, 4 KiB sent")):  # fmt: skip
        (statistics / "rx_bytes").write_text(f"{received}\n")
        assert facts(root, "wireguard") == f"{reported}\n"
    done = subprocess.run(
        [root.path / "usr/lib/edgeimg/status-json", root.path], capture_output=True, text=True,
        check=True, env={"PATH": programs()},
    )  # fmt: skip
    found = json.loads(done.stdout)
    assert found["wireguard"] == {
        "state": "12 KiB received, 4 KiB sent",
        "public_key": root.read("run/edgeimg/wireguard.pub").strip(),
    }
    assert found["memory_kib"]["total"] > found["memory_kib"]["used"] > 0
    assert isinstance(found["addresses"], dict)
    assert isinstance(found["problems"], list)


JUDGE = """
mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/network && cp -p "$1"/* /run/systemd/network/
export SYSTEMD_LOG_LEVEL=debug SYSTEMD_LOG_TARGET=console
timeout 5 "$2"
:
"""
NETWORKD = Path("/usr/lib/systemd/systemd-networkd")


@pytest.mark.skipif(os.geteuid() != 0 or not NETWORKD.exists() or not shutil.which("unshare"),
                    reason="needs root, unshare and systemd-networkd")  # fmt: skip
@pytest.mark.parametrize("broken", ["", "PublicKey=", "AllowedIPs=", "MTUBytes=", "DNS="])
def test_networkd_understands_every_line(root: Root, broken: str) -> None:
    root.put(files(of(WHOLE)))
    root.start()
    folder = root.path / "run/systemd/network"
    for file in folder.iterdir() if broken else ():
        file.write_text(file.read_text().replace(broken, f"{broken}?"))
    done = subprocess.run(
        ["unshare", "-mn", "sh", "-c", JUDGE, "judge", folder, NETWORKD], capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    said = done.stdout + done.stderr
    complaints = [line for line in said.splitlines() if "/run/systemd/network/05-wg0" in line]
    assert broken or 'wg0: loaded "wireguard"' in said, said
    assert bool(complaints) == bool(broken), said


def test_secrets_are_stars_where_they_are_looked_at() -> None:
    shown = b"".join(files(masking.masked(of(WHOLE))).values()).decode()
    assert PRIVATE not in shown and SHARED not in shown
    assert shown.count(masking.STARS) == 2
    assert PUBLIC in shown


def test_networks_that_are_there_twice() -> None:
    lan = {"lan": {"interface": "eth0", "addresses": ["10.8.0.9/24"]}}
    (line,) = advice.warnings(of(TUNNEL | {"addresses": ["10.9.0.2/24"]}, network=lan))
    assert "wireguard: 10.8.0.0/24 overlaps 10.8.0.0/24" in line
    assert advice.warnings(of(TUNNEL)) == []
    pods = peer(allowed_ips=["10.42.7.0/24"])
    (line,) = advice.warnings(of(pods))
    assert "10.42.7.0/24 overlaps 10.42.0.0/16" in line
    assert advice.warnings(of(pods, k3s={"config": {"cluster-cidr": "172.20.0.0/16"}})) == []
    with pytest.raises(ValidationError, match=r"10.8.0.2/16 is that of \[wireguard\]"):
        of(TUNNEL, network={"lan": {"interface": "eth0", "addresses": ["10.8.0.2/16"]}})
    with pytest.raises(ValidationError, match="a device of the gateway has this name"):
        of(TUNNEL, network={"lan": {"interface": "eth0"}, "wg0": {"vlan": 2, "on": "lan"}})


NETPLAN = f"""\
version: 2
tunnels:
  wg0:
    mode: wireguard
    key: {PRIVATE}
    port: 51820
    addresses: [10.8.0.2/24, "fd00:8::2/64"]
    mtu: 1380
    nameservers: {{addresses: [10.8.0.1]}}
    peers:
      - keys: {{public: {PUBLIC}, shared: {SHARED}}}
        endpoint: vpn.example.org:51820
        allowed-ips: [10.8.0.1/24]
        keepalive: 25
      - keys: {{public: {OTHER}}}
        endpoint: "[2001:db8::1]:51820"
        allowed-ips: ["fd00:9::/64"]
    routes:
      - {{to: "fd00:9::/64", scope: link}}
"""


@pytest.fixture
def netplan(tmp_path: Path) -> Callable[[str], tuple[Settings, list[str]]]:
    def load(text: str) -> tuple[Settings, list[str]]:
        notes: list[str] = []
        path = tmp_path / "network-config"
        path.write_text(text)
        return nocloud.load((path,), note=notes.append), notes

    return load


def test_netplans_tunnel_is_the_same(
    netplan: Callable[[str], tuple[Settings, list[str]]],
) -> None:
    settings, notes = netplan(NETPLAN)
    assert files(settings) == files(of(WHOLE))
    (note,) = notes
    assert "what is in allowed-ips is routed" in note


@pytest.mark.parametrize(
    ("line", "instead", "reported"),
    [
        ("mode: wireguard", "mode: gre", "expected wireguard"),
        (f"key: {PRIVATE}", "key: /etc/wg.key", "not the name of a file"),
        ('to: "fd00:9::/64"', "to: default", "expected a network of allowed-ips"),
        ("keepalive: 25", "mark: 25", "is not supported"),
        ("  wg0:\n", "  wg1: {mode: wireguard}\n  wg0:\n", "expected one tunnel"),
        (f"public: {OTHER}", f"public: {PUBLIC}", "is the public key of peers.0"),
    ],
)  # fmt: skip
def test_netplans_tunnel_is_refused_in_words(
    netplan: Callable[[str], tuple[Settings, list[str]]], line: str, instead: str, reported: str
) -> None:
    assert line in NETPLAN
    with pytest.raises(ProvisionError) as caught:
        netplan(NETPLAN.replace(line, instead, 1))
    assert reported in caught.value.message
    assert not any(key in caught.value.message for key in KEYS)


SITE = f"""\
[[wireguard.peers]]
public_key = "{PUBLIC}"
preshared_key_file = "shared.key"
endpoint = "vpn.example.org:51820"
allowed_ips = ["10.8.0.0/24"]
keepalive = 25
"""
FLEET = """\
hostname,wireguard.addresses,wireguard.private_key_file
box-1,10.8.0.11/24,box-1.key
box-2,10.8.0.12/24,box-2.key
"""


def test_a_fleet_has_an_address_and_a_key_for_each_gateway(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, key in zip(("shared", "box-1", "box-2"), KEYS[2:5], strict=True):
        (tmp_path / f"{name}.key").write_text(f"{key}\n")
    (tmp_path / "site.toml").write_text(SITE)
    path = tmp_path / "fleet.csv"
    path.write_text(FLEET)
    monkeypatch.chdir("/")
    one, two = fleets.load(path, defaults=tmp_path / "site.toml").gateways
    assert b"Address = 10.8.0.12/24\n" in two.files()["edgeimg/wireguard.conf"]
    assert SHARED.encode() in one.files()["edgeimg/wireguard.conf"]
    for text, reported in (
        (FLEET.replace("12/24", "11/24"), "10.8.0.11 is that of box-1 already"),
        (FLEET.replace("box-2.key", "box-1.key"), "is the private key of box-1, too"),
    ):
        path.write_text(text)
        with pytest.raises(ProvisionError) as caught:
            fleets.load(path, defaults=tmp_path / "site.toml")
        assert reported in caught.value.message
