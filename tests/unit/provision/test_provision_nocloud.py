"""NoCloud's files as settings: what is understood, and that nothing is passed over."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from edgeimg.errors import ProvisionError
from edgeimg.provision import nocloud
from edgeimg.provision.reading import SettingsError
from edgeimg.provision.rendering import files
from edgeimg.provision.settings import Settings

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxvb2sgbm8gZnVydGhlciwgdGhlcmUgaXMgbm8ga2V5 me@desk"
HUSH = "hush-hush-0123456789"
META = f"instance-id: i-1\nlocal-hostname: box-0\npublic-keys: ['{KEY}']\n"
ECDSA = (
    "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBHBwcHBwcHBwcHBwcH"
    "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHA= other"
)
USER = f"""\
#cloud-config
hostname: box-7
ssh_authorized_keys:
  - {ECDSA}
timezone: Europe/Berlin
ntp:
  enabled: true
  servers: [10.0.0.1]
  pools: [pool.example.org]
"""
VERSION_2 = """\
network:
  version: 2
  renderer: networkd
  ethernets:
    lan:
      match: {macaddress: 52:54:00:12:34:56}
      dhcp4: false
      addresses: [192.168.1.2/24, "fd00::2/64"]
      routes:
        - {to: default, via: 192.168.1.1}
        - {to: 10.0.0.0/8, via: 192.168.1.3, metric: 50}
      gateway6: fd00::1
      nameservers: {addresses: [9.9.9.9], search: [plant.example]}
      mtu: 1400
    enp2s0:
      dhcp4: true
      dhcp6: true
      optional: true
  vlans:
    lan.20: {id: 20, link: lan, addresses: [10.20.0.2/24]}
  wifis:
    wlan0:
      dhcp4: true
      regulatory-domain: DE
      access-points:
        Hall 3: {password: "PASSWORD"}
        guests: {hidden: true}
""".replace("PASSWORD", HUSH)
VERSION_1 = """\
version: 1
config:
  - type: physical
    name: eth0
    mac_address: "52:54:00:12:34:56"
    subnets:
      - type: static
        address: 192.168.1.2
        netmask: 255.255.255.0
        gateway: 192.168.1.1
        dns_nameservers: [9.9.9.9]
        routes:
          - {network: 10.0.0.0, netmask: 255.0.0.0, gateway: 192.168.1.3}
  - type: vlan
    name: eth0.20
    vlan_link: eth0
    vlan_id: 20
    mtu: 1400
    subnets: [{type: dhcp}]
  - type: nameserver
    address: 10.0.0.53
    search: [plant.example]
"""


def load(folder: Path, **texts: str) -> Settings:
    for name, text in texts.items():
        (folder / name.replace("_", "-")).write_text(text)
    return nocloud.load(nocloud.find(folder))


def rendered(settings: Settings, name: str) -> list[str]:
    return files(settings)[f"edgeimg/{name}"].decode().splitlines()


def test_who_it_is_and_who_may_log_in(tmp_path: Path) -> None:
    settings = load(tmp_path, meta_data=META, user_data=USER)
    assert settings.hostname == "box-7"  # user-data wins
    assert settings.ssh_keys == (
        KEY,
        ECDSA,
    )
    assert settings.timezone == "Europe/Berlin"
    assert settings.ntp == ("10.0.0.1", "pool.example.org")


def test_version_2_of_the_network(tmp_path: Path) -> None:
    settings = load(tmp_path, network_config=VERSION_2)
    lan = rendered(settings, "network/10-lan.network")
    for line in (
        "MACAddress=52:54:00:12:34:56", "DHCP=no", "Address=192.168.1.2/24", "Address=fd00::2/64",
        "Gateway=192.168.1.1", "DNS=9.9.9.9", "Domains=plant.example", "VLAN=lan.20",
        "Destination=10.0.0.0/8", "Gateway=192.168.1.3", "Metric=50", "Destination=::/0",
        "Gateway=fd00::1", "MTUBytes=1400", "RequiredForOnline=routable",
    ):  # fmt: skip
        assert line in lan, line
    second = rendered(settings, "network/10-enp2s0.network")
    assert {"Name=enp2s0", "DHCP=yes", "RequiredForOnline=no"} <= set(second)
    assert "Id=20" in rendered(settings, "network/10-lan.20.netdev")
    assert "Address=10.20.0.2/24" in rendered(settings, "network/10-lan.20.network")
    assert "DHCP=ipv4" in rendered(settings, "network/10-wlan0.network")
    wifi = rendered(settings, "wifi.conf")
    assert wifi[0] == "country=DE"
    key = hashlib.pbkdf2_hmac("sha1", HUSH.encode(), b"Hall 3", 4096, 32)
    assert {f"\tpsk={key.hex()}", "\tkey_mgmt=NONE", "\tscan_ssid=1"} <= set(wifi)
    assert HUSH not in repr(settings)


def test_version_1_of_the_network(tmp_path: Path) -> None:
    settings = load(tmp_path, network_config=VERSION_1)
    lan = rendered(settings, "network/10-eth0.network")
    for line in (
        "MACAddress=52:54:00:12:34:56", "Address=192.168.1.2/24", "Gateway=192.168.1.1",
        "DNS=9.9.9.9", "Domains=plant.example", "VLAN=eth0.20", "Destination=10.0.0.0/8",
    ):  # fmt: skip
        assert line in lan, line
    vlan = rendered(settings, "network/10-eth0.20.network")
    assert {"DHCP=ipv4", "DNS=10.0.0.53", "MTUBytes=1400"} <= set(vlan)


def test_a_script_as_user_data_is_the_script(tmp_path: Path) -> None:
    settings = load(tmp_path, user_data="#!/bin/sh\necho hello\n")
    assert rendered(settings, "script") == ["#!/bin/sh", "echo hello"]


def test_all_that_is_not_understood_is_named_with_its_line(tmp_path: Path) -> None:
    user = f"{USER}packages: [nginx]\nruncmd:\n  - reboot\nwrite_files: []\n"
    network = """\
version: 2
ethernets:
  eth0:
    dhcp4: true
    dhcp4-overrides: {route-metric: 5, use-mtu: false}
    critical: true
    addresses: [10.0.0.300/24]
tunnels:
  he-ipv6: {}
"""
    with pytest.raises(SettingsError) as caught:
        load(tmp_path, meta_data="public-hostname: x\n", user_data=user, network_config=network)
    told = [problem.removeprefix(f"{tmp_path}/") for problem in caught.value.problems]
    assert [problem.partition(";")[0] for problem in told] == [
        "meta-data:1: public-hostname: is not supported",
        "network-config:5: ethernets.eth0.dhcp4-overrides.use-mtu: is not supported",
        "network-config:9: tunnels.he-ipv6.mode: expected wireguard, the only tunnel of gateways",
        "user-data:10: packages: is not supported",
        "user-data:11: runcmd: is not supported",
        "user-data:13: write_files: is not supported",
        # What is understood and wrong, by what it became and where it was written.
        "network-config:3: network.eth0.addresses.0: expected an address with its prefix, such as"
        " '192.168.1.2/24', found '10.0.0.300/24'",
    ]


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("user_data", "## template: jinja\n#cloud-config\n", "expected #cloud-config, or a script"),
        ("user_data", "Content-Type: multipart/mixed\n", "expected #cloud-config, or a script"),
        ("user_data", "#cloud-config\n- a\n", "expected keys and values"),
        ("user_data", "#cloud-config\nhostname: [\n", ":3: not YAML"),
        ("user_data", "#cloud-config\nhostname: a\nhostname: b\n", ":3: 'hostname' is there twice"),
        ("user_data", "#cloud-config\nntp: {enabled: false}\n", "always asks for the time"),
        ("user_data", "#cloud-config\nhostname: 7\n", "hostname: expected a name"),
        (
            "meta_data",
            "local-hostname: Box\n",
            "meta-data:1: hostname: expected a name of",
        ),
        ("network_config", "version: 3\n", "expected version: 1 or version: 2"),
        ("network_config", "version: 2\nrenderer: NetworkManager\n", "expected networkd"),
        ("network_config", "version: 1\nconfig: [{type: tunnel}]\n", "expected physical, vlan"),
        (
            "network_config",
            f"version: 2\nwifis: {{wlan0: {{access-points: {{x: {{password: {HUSH}}}}}}}}}\n",
            "wifis.wlan0.regulatory-domain: expected the country",
        ),
        ("network_config", "a: &a [*a]\nversion: 2\n", "nested too deeply"),
    ],
)
def test_what_is_wrong_is_told(tmp_path: Path, name: str, text: str, expected: str) -> None:
    with pytest.raises(ProvisionError) as caught:
        load(tmp_path, **{name: text})
    assert expected in caught.value.message
    assert HUSH not in caught.value.message


def test_a_directory_without_any_is_told(tmp_path: Path) -> None:
    with pytest.raises(ProvisionError, match="expected meta-data, user-data, network-config"):
        nocloud.find(tmp_path)
