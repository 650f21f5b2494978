"""NoCloud's files in the shapes that other tools and systems write them."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from edgeimg.errors import ProvisionError
from edgeimg.provision import addresses, nocloud, zones
from edgeimg.provision.rendering import files

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxvb2sgbm8gZnVydGhlciwgdGhlcmUgaXMgbm8ga2V5 me@desk"
CARD = "version: 2\nethernets:\n  eth0:\n    addresses: [10.0.0.2/24]\n"

USER = {
    "user: root\nhostname: a\n": "a",
    "hostname: a\nchpasswd: {expire: false}\nssh_pwauth: no\n": "a",
    "hostname: a\nca_certs: {remove_defaults: false}\n": "a",
    f"hostname: a\nssh_authorized_keys: |\n  {KEY}\n\n  {KEY}\n": KEY,
}
REFUSED_USER = {
    "Content-Type: multipart/mixed; boundary=x\n": "write the cloud-config alone",
    "## template: jinja\n#cloud-config\nhostname: a\n": "write the values",
    "#include\nhttps://example.org/x\n": "a gateway fetches nothing",
    "I2Nsb3VkLWNvbmZpZwpob3N0bmFtZTogYQo=\n": "unpack base64 first",
    "#cloud-config\nautoinstall: {version: 1}\n": "edgeimg flash",
    "#cloud-config\nmachine: {type: worker}\n": "machine: ",
    "#cloud-config\nchpasswd: {expire: true}\n": "chpasswd",
    "#cloud-config\nuser: ops\n": "user",
}
NETWORK = {
    CARD + "    link-local: [ipv6]\n    dhcp-identifier: mac\n": "Address=10.0.0.2/24",
    CARD + "    renderer: networkd\n": "Address=10.0.0.2/24",
    CARD + "    routes: [{to: 10.9.9.1/32, scope: link}, {to: default, via: 10.9.9.1}]\n":
        "GatewayOnLink=yes",
    CARD + "    gateway4: 10.0.0.1\n    routes: [{to: default, via: 10.0.0.1}]\n":
        "Gateway=10.0.0.1",
    CARD + "    critical: true\n    ipv6-address-generation: eui64\n": "Address=10.0.0.2/24",
    CARD + "    routes: [{to: 10.9.0.0/16, via: 10.0.0.1, type: unicast, table: 254}]\n":
        "Destination=10.9.0.0/16",
    CARD + "    dhcp4: true\n    dhcp4-overrides: {use-dns: false}\n"
        "    nameservers: {addresses: [10.0.0.9]}\n": "UseDNS=no",
}  # fmt: skip
BRIDGE = (
    "version: 2\nethernets: {a: {}, b: {}}\nbridges:\n  br0:\n    dhcp4: true\n    interfaces: "
)
OLD = "version: 1\nconfig:\n- {type: physical, name: a}\n- {type: physical, name: b}\n" \
      "- {type: bridge, name: br0, bridge_interfaces: "  # fmt: skip
NOTED = {
    BRIDGE + "[a, b]\n": "br0: is without STP here",
    BRIDGE + "[a]\n": "",
    BRIDGE + "[a, b]\n    parameters: {stp: false}\n": "stp: has no meaning here",
    OLD + "[a, b]}\n": "is without STP here",
    OLD + "[a, b], params: {bridge_stp: off}}\n": "",
    "version: 2\nethernets: {a: {dhcp4: true, nameservers: {addresses: [10.0.0.9]}}}\n":
        "its name servers take the place of those of DHCP",
    CARD + "    nameservers: {addresses: [10.0.0.9]}\n": "",
}  # fmt: skip
"""What is otherwise than in netplan, and not to be seen in the file."""
REFUSED_NETWORK = {
    CARD + "    match: {driver: bcmgenet}\n": "say name, a pattern such as 'en*'",
    CARD + "    auth: {key-management: 802.1x}\n": "802.1X is not supported",
    CARD + "    dhcp4-overrides: {use-dns: false}\n": "unless the card has nameservers",
    CARD + "    routes: [{to: 10.9.0.0/16, via: 10.0.0.1, table: 7}]\n": "write a file",
    "version: 2\nwifis:\n  w:\n    regulatory-domain: DE\n    access-points:\n      corp:\n"
        "        auth: {key-management: eap, method: peap}\n": "a login for each user",
    "version: 2\nethernets: {a: {}}\nbonds: {b0: {interfaces: [a], parameters: {primary: a}}}\n":
        "write a file for it by hand",
    CARD + "    gateway4: 10.0.0.1\n    routes: [{to: default, via: 10.0.0.3}]\n":
        "a second route to",
    CARD + "    routes: [{to: 10.9.0.0/16, via: 10.0.0.1}, {to: 10.9.0.0/16, via: 10.0.0.3}]\n":
        "a second route to 10.9.0.0/16",
    CARD + "    match: {}\n": "expected macaddress or name",
    CARD + "    link-local: []\n": "expected [ipv6]",
    CARD + "    renderer: NetworkManager\n": "expected networkd",
    CARD + "    routes: [{to: 10.9.9.1/32, scope: link}]\n": "a route by 10.9.9.1",
    "version: 1\nconfig:\n- {type: physical, name: a}\n- {type: physical, name: a}\n":
        "a card of the name a is there already",
    "version: 1\nconfig:\n- {type: nameserver, address: 10.0.0.1}\n": "expected a card",
}  # fmt: skip


def provisioned(folder: Path, **texts: str) -> str:
    for name, text in texts.items():
        (folder / name.replace("_", "-")).write_text(text)
    found = files(nocloud.load(nocloud.find(folder)))
    return b"\n".join(found[name] for name in sorted(found)).decode()


@pytest.mark.parametrize(("text", "line"), USER.items(), ids=str)
def test_user_data_that_is_taken(tmp_path: Path, text: str, line: str) -> None:
    assert line in provisioned(tmp_path, user_data=f"\n#Cloud-Config\n{text}").splitlines()


@pytest.mark.parametrize(("text", "way"), REFUSED_USER.items(), ids=str)
def test_user_data_that_is_refused(tmp_path: Path, text: str, way: str) -> None:
    with pytest.raises(ProvisionError) as caught:
        provisioned(tmp_path, user_data=text)
    assert way in caught.value.message


def test_compressed_user_data_is_refused(tmp_path: Path) -> None:
    (tmp_path / "user-data").write_bytes(gzip.compress(b"#cloud-config\nhostname: a\n"))
    with pytest.raises(ProvisionError, match="unpack it first"):
        nocloud.load(nocloud.find(tmp_path))


@pytest.mark.parametrize(("text", "line"), NETWORK.items(), ids=str)
def test_networks_that_are_taken(tmp_path: Path, text: str, line: str) -> None:
    found = provisioned(tmp_path, network_config=text).splitlines()
    assert found.count("Gateway=10.0.0.1") <= 1
    assert line in found


@pytest.mark.parametrize(("text", "note"), NOTED.items(), ids=str)
def test_what_is_otherwise_than_elsewhere_is_a_note(tmp_path: Path, text: str, note: str) -> None:
    (tmp_path / "network-config").write_text(text)
    notes: list[str] = []
    nocloud.load(nocloud.find(tmp_path), None, notes.append)
    assert notes == [] if not note else note in "\n".join(notes)


@pytest.mark.parametrize(("text", "why"), REFUSED_NETWORK.items(), ids=str)
def test_networks_that_are_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ProvisionError) as caught:
        provisioned(tmp_path, network_config=text)
    assert why in caught.value.message


def test_a_file_of_almost_the_right_name(tmp_path: Path) -> None:
    (tmp_path / "User-Data.yaml").write_text("#cloud-config\n")
    with pytest.raises(ProvisionError, match=r"rename User-Data\.yaml to user-data"):
        nocloud.find(tmp_path)


@pytest.mark.parametrize(
    "text",
    ["52:54:0:1:2:3", "52 54 0 1 2 3", "0x525400010203", " 52-54-00-01-02-03 ", "5254.0001.0203"],
)
def test_forms_of_a_mac_address(text: str) -> None:
    assert addresses.mac(text) == "52:54:00:01:02:03"


@pytest.mark.parametrize("text", ["52:54:0:1:2", "52:54:0:1:2:333", "52:54:0:1:2:3\n", "0x52"])
def test_what_is_no_mac_address(text: str) -> None:
    with pytest.raises(ValueError, match="MAC"):
        addresses.mac(text)


@pytest.mark.parametrize(
    ("text", "name"),
    [("Europe/Berln", "Europe/Berlin"), ("new york", "America/New_York"), ("CEST", None)],
)
def test_a_time_zone_is_compared_with_places(text: str, name: str | None) -> None:
    assert zones.close(text) == name
