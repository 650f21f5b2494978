"""Settings as people and other tools write them: what is taken, noted and refused.

The inputs are tests/cases/settings.tar.xz; the README of each directory names its sources.
"""

from __future__ import annotations

import struct
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from edgeimg.errors import ProvisionError, ReleaseError
from edgeimg.fleet import reading as fleets
from edgeimg.provision import advice, nocloud, reading, zones
from edgeimg.provision.rendering import files
from edgeimg.provision.settings import Settings
from edgeimg.recipe.tables import Image
from edgeimg.release import order
from pydantic import ValidationError

INPUTS = Path(__file__).parents[1] / "cases/settings.tar.xz"
SPREADSHEET = "the spreadsheet made a number of it"
ON_LINK = "GatewayOnLink=yes"
MAC = "MACAddress=dc:a6:32:00:00:01"

TAKEN: dict[str, tuple[str, ...]] = {
    # Lines of the files; "NOTE …" is a part of a note, "!…" a line that is not there.
    "10-user-data-kinds/bom": ("box1",),
    "10-user-data-kinds/crlf": ("box1",),
    "10-user-data-kinds/empty-files": ("NOTE user-data:1: is empty",),
    "10-user-data-kinds/locale": ("box1", "NOTE locale: has no meaning here"),
    "10-user-data-kinds/meta-json": ("box1", "NOTE dsmode: has no meaning here"),
    "10-user-data-kinds/ntp-full": ("10.0.0.1", "NOTE ntp.ntp_client: has no meaning here"),
    "10-user-data-kinds/sh-with-flags": ("#!/bin/sh -eu",),
    "11-network-config-v2/bridge": ("Kind=bridge", "Bridge=br0", "DHCP=ipv4"),
    "11-network-config-v2/dhcp-with-gateway": ("Gateway=192.168.1.1",),
    "11-network-config-v2/gateway6-linklocal": ("Gateway=fe80::1",),
    "11-network-config-v2/id-with-caps": ("MACAddress=bc:24:11:aa:bb:cc",),
    "11-network-config-v2/long-id": ("Name=en*",),
    "11-network-config-v2/match-no-set-name-quotes": ("DHCP=ipv4",),
    "11-network-config-v2/match-set-name": ("DHCP=ipv4", "NOTE set-name: has no meaning here"),
    "11-network-config-v2/mtu-quoted": ("MTUBytes=1400",),
    "11-network-config-v2/null-card": ("Name=eth0",),
    "11-network-config-v2/version-string": ("Name=eth0",),
    "11-network-config-v2/vlan-caps": ("VLAN=Office", "Id=20"),
    "12-wifi/auth-psk": ("key_mgmt=WPA-PSK",),
    "12-wifi/eth-and-wifi-dhcp": ("RouteMetric=2048",),
    "12-wifi/open-auth-none": ("key_mgmt=NONE", "!ieee80211w=1"),
    "12-wifi/password-digits": ("key_mgmt=WPA-PSK",),
    "12-wifi/password-leading-zero": ("key_mgmt=WPA-PSK",),
    "12-wifi/regdom-lower": ("country=DE",),
    "12-wifi/two-cards": ("NOTE all wireless cards join the networks",),
    "13-network-config-v1/accept-ra": ("IPv6AcceptRA=yes",),
    "13-network-config-v1/bond": ("Kind=bond", "Mode=active-backup", "Bond=bond0"),
    "13-network-config-v1/caps-mac-dash": ("MACAddress=BC:24:11:AA:BB:CC",),
    "13-network-config-v1/control-auto": ("DHCP=ipv4",),
    "13-network-config-v1/dns-text": ("DNS=8.8.8.8", "DNS=1.1.1.1"),
    "13-network-config-v1/ipv6-netmask": ("Address=fd00::5/64", "Gateway=fd00::1"),
    "13-network-config-v1/loopback": ("Name=eth0", "!Name=lo"),
    "13-network-config-v1/netmask-number": ("Address=192.168.1.20/24",),
    "13-network-config-v1/proxmox-slaac": ("IPv6AcceptRA=yes",),
    "13-network-config-v1/proxmox-static": ("Gateway=192.168.1.1", "Domains=plant.local"),
    "14-on-link/v1-ipv4-off-subnet": ("Gateway=1.2.3.4", ON_LINK),
    "14-on-link/v1-ipv6-128": ("Gateway=2001:db8:0:10::1", ON_LINK),
    "14-on-link/v2-opennebula-mtu-text": ("MTUBytes=1500", f"!{ON_LINK}"),
    "14-on-link/v2-static4-slaac": ("IPv6AcceptRA=yes", "!IPv6AcceptRA=no"),
    "20-registries/acr-refresh-token.toml": ("user=00000000-0000-0000-0000-000000000000",),
    "20-registries/gar-json-key-base64.toml": ("user=_json_key_base64",),
    "20-registries/harbor-robot.toml": ('password=pa$$w"o\\rd#1',),
    "20-registries/ipv6-endpoint.toml": ("endpoint=https://[fd00::5]:5000",),
    "20-registries/password-crlf.toml": ("password=hush",),
    "22-k3s-config/taint-no-value.toml": ('  - "dedicated:NoSchedule"',),
    "23-system/bom-toml.toml": ("box-1",),
    "23-system/crlf-toml.toml": ("box-1", "CET-1CEST,M3.5.0,M10.5.0/3"),
    "23-system/tz-gmt.toml": ("<-05>5",),
    "24-network-toml/dhcp-and-wifi.toml": ("RouteMetric=2048",),
    "24-network-toml/gateway-32.toml": ("Gateway=172.31.1.1", ON_LINK),
    "24-network-toml/mac-bare.toml": (MAC,),
    "24-network-toml/mac-cisco.toml": (MAC,),
    "24-network-toml/mac-dashes.toml": ("MACAddress=DC-A6-32-00-00-01".replace("-", ":"),),
    "30-fleet-csv/bools-german.csv": ("DHCP=yes",),
    "30-fleet-csv/bools.csv": ("DHCP=yes", "DHCP=ipv4", "RequiredForOnline=no"),
    "30-fleet-csv/cr-only.csv": ("box-2",),
    "30-fleet-csv/labels-dotted.csv": ('  - "topology.kubernetes.io/zone=z1"',),
    "30-fleet-csv/quoted-newline-cell.csv": ("Address=10.0.1.1/24",),
    "30-fleet-csv/semicolons-bom-crlf.csv": ("Address=fd00::1/64",),
    "30-fleet-csv/trailing-empty-cols.csv": ("Address=10.0.0.1/24",),
}  # fmt: skip
REFUSED: dict[str, tuple[str, ...]] = {
    "10-user-data-kinds/header-with-space": ("expected #cloud-config", "understood: hostname"),
    "10-user-data-kinds/hostname-caps": ("as 'line3-gw'",),
    "10-user-data-kinds/hostname-is-fqdn": ("as 'box1'",),
    "10-user-data-kinds/k3os": (
        "k3os: is not supported; say it in a TOML file of settings: [k3s]", "do not fetch keys",
        "understood: hostname",
    ),
    "10-user-data-kinds/kairos": (
        "users: is not supported; the only login is root's",
        "k3s: is not supported; say it in a TOML file",
    ),
    "10-user-data-kinds/rpi-imager-2": (
        "users: is not supported; the only login is root's", "keyboard: has no meaning here",
        "manage_etc_hosts: has no meaning here", "ssh_pwauth: has no meaning here",
        "understood: hostname, timezone",
    ),
    "10-user-data-kinds/utf16": ("save it as UTF-8",),
    "10-user-data-kinds/vendor-data-beside": ("not read: vendor-data",),
    "11-network-config-v2/gateway4-off-subnet": ("192.168.2.1 is in none", "on_link = true"),
    "11-network-config-v2/host-bits-route": ("expected a network such as '10.20.0.0/16'",),
    "11-network-config-v2/ipv6-zone": ("expected 'fe80::1', without the name of a card",),
    "11-network-config-v2/route-metric": ("dhcp4-overrides.use-dns: is not supported",),
    "12-wifi/auth-eap": ("key-management: expected one of none, psk, sae",),
    "12-wifi/password-utf8": ("8 to 63 characters (ASCII)",),
    "20-registries/endpoint-bare.toml": ("such as 'https://mirror.example.org:5000'",),
    "22-k3s-config/label-role.toml": ("may give itself topology.kubernetes.io/zone",),
    "22-k3s-config/label-umlaut.toml": ("expected letters, digits, '-', '_' and '.'",),
    "22-k3s-config/node-ip-zone.toml": ("expected 'fe80::1', without the name of a card",),
    "22-k3s-config/token-two-lines.toml": ("one line of text",),
    "23-system/host-caps.toml": ("as 'gw-halle7'",),
    "23-system/host-localhost.toml": ("every machine is localhost",),
    "23-system/keyfile-dss.toml": ("ssh-dss is not accepted",),
    "23-system/keyfile-putty.toml": ("ssh-keygen -i -f",),
    "23-system/keyfile-truncated.toml": ("line 1", "the key is cut off"),
    "23-system/keyfile-utf16.toml": ("save it as UTF-8",),
    "23-system/tz-utc+1.toml": ("expected 'Etc/GMT-1'",),
    "23-system/utf16-toml.toml": ("save it as UTF-8",),
    "24-network-toml/addr-duplicate.toml": ("192.168.1.5 is there twice",),
    "24-network-toml/mac-zero.toml": ("expected the MAC address of one card",),
    "24-network-toml/vlan-called-cni0.toml": ("choose another",),
    "24-network-toml/vlan-called-flannel.toml": ("choose another",),
    "24-network-toml/zone-address.toml": ("expected 'fe80::5', without the name of a card",),
    "30-fleet-csv/excel-mac-scientific.csv": (f":2: network.lan.mac: {SPREADSHEET}",),
    "30-fleet-csv/formula-injection.csv": (":2: serial: expected the value alone",),
    "30-fleet-csv/mac-case-dup.csv": ("is that of box-1 already",),
    "30-fleet-csv/newline-separated-list.csv": ("expected ',' between several values",),
    "30-fleet-csv/semicolon-list-in-cell.csv": ("expected ',' between several values",),
    "30-fleet-csv/serial-scientific.csv": (
        f":2: serial: {SPREADSHEET}", f":2: disk_serial: {SPREADSHEET}", ":3: disk_serial",
    ),
    "30-fleet-csv/title-row.csv": (":1: expected the names of the columns",),
    "30-fleet-csv/unbalanced-quote.csv": (":2: no CSV: a quotation mark of this row has no end",),
    "30-fleet-csv/zip-xlsx.csv": ("the file of a spreadsheet",),
}  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    with tarfile.open(INPUTS) as archive:
        archive.extractall(folder, filter="data")
    return folder


def lines(path: Path) -> set[str]:
    """What comes of an input: lines of files, and notes."""
    notes: list[str] = []

    def ask(purpose: str) -> str:
        return "hush-hush" if purpose else ""

    if path.is_dir():
        settings = [nocloud.load(nocloud.find(path), ask, notes.append)]
    elif path.suffix == ".csv":
        settings = [gateway.settings for gateway in fleets.load(path, ask=ask).gateways]
    else:
        settings = [reading.load(path, ask)]
    found = [content for one in settings for content in files(one).values()]
    text = b"".join(found).decode()
    return {line.strip("\t") for line in text.splitlines()} | {f"NOTE {note}" for note in notes}


@pytest.mark.parametrize("case", TAKEN)
def test_it_is_taken(inputs: Path, case: str) -> None:
    found = lines(inputs / case)
    for line in TAKEN[case]:
        if line.startswith("NOTE "):
            assert any(line.removeprefix("NOTE ") in one for one in found if one[:4] == "NOTE")
        elif line.startswith("!"):
            assert line[1:] not in found
        else:
            assert line in found


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_words(inputs: Path, case: str) -> None:
    with pytest.raises(ProvisionError) as caught:
        lines(inputs / case)
    for words in REFUSED[case]:
        assert words in caught.value.message


def test_a_network_that_k3s_uses_too_is_a_warning(inputs: Path) -> None:
    def told(**k3s: object) -> list[str]:
        row = fleets.load(inputs / "30-fleet-csv/pod-range-overlap.csv").gateways[0].settings
        lan = {"lan": row.network["lan"].model_dump(exclude_unset=True)}
        return advice.warnings(Settings.model_validate({"network": lan, "k3s": k3s}))

    assert len(told()) == 1
    assert "10.42.0.5/16 overlaps 10.42.0.0/16" in told()[0]
    assert 'cluster-cidr = "172.' in told()[0]
    assert told(config={"cluster-cidr": "172.20.0.0/16"}) == []
    lan = {"interface": "eth0", "addresses": ["fd42::5/64", "172.20.0.5/16"]}
    k3s = {"config": {"cluster-cidr": ["10.1.0.0/16", "fd42::/56"]}}
    (line,) = advice.warnings(Settings.model_validate({"network": {"lan": lan}, "k3s": k3s}))
    assert 'cluster-cidr = "fd10::/56"' in line
    lan["addresses"] = ["10.42.0.5/24", "172.20.0.5/16"]
    (line,) = advice.warnings(Settings.model_validate({"network": {"lan": lan}}))
    assert 'cluster-cidr = "172.21.0.0/16"' in line


def test_a_zone_whose_rule_does_not_hold_yet_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    # A file of tzdata with a transition on 2027-03-14 to what its last line says.
    transition = int(datetime(2027, 3, 14, 5, tzinfo=UTC).timestamp())
    head = b"TZif2" + bytes(15)
    old = head + struct.pack(">6I", 0, 0, 0, 0, 1, 4) + bytes(6) + b"UTC\0"
    counts = struct.pack(">6I", 0, 0, 0, 1, 2, 8)
    kinds = struct.pack(">q B iBB iBB", transition, 1, -4 * 3600, 0, 0, -5 * 3600, 0, 4)
    stored = old + head + counts + kinds + b"NOW\0LAT\0" + b"\nLAT5\n"
    monkeypatch.setattr(zones, "_stored", lambda _: stored)
    before, after = (datetime(2027, 3, day, tzinfo=UTC) for day in (1, 15))
    zones.differs.cache_clear()
    assert zones.differs("America/Havana", before) == before
    assert zones.differs("America/Havana", after) is None
    assert zones.fixed("America/Havana", before) == "<-04>4"
    monkeypatch.setattr(zones, "differs", lambda zone, _: before if "/" in zone else None)
    settings = Settings.model_validate({"timezone": "America/Havana"})
    (line,) = advice.warnings(settings)
    assert "wrong from 2027-03-01 00:00 UTC" in line
    assert "set '<-04>4' on 2027-03-01, not before," in line
    assert advice.warnings(Settings.model_validate({"timezone": "CET-1"})) == []


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", "Etc/GMT-1", "CET-1"])
def test_zones_without_changes_ahead(zone: str) -> None:
    assert zones.differs(zone, datetime(2026, 11, 29, tzinfo=UTC)) is None
    if "/" in zone:
        assert zones.is_rule(zones.fixed(zone, datetime(2026, 11, 29, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.168.1.255/24", "192.168.1.255/24 is the address for broadcast"),
        ("192.168.1.0/24", "192.168.1.0/24 is the address of the network"),
        ("10.0.3.255/22", "expected one between 10.0.0.1 and 10.0.3.254"),
        ("10.0.0.3/30", "is the address for broadcast"),
        ("10.0.0.255/22", ""),
        ("10.0.1.0/22", ""),
        ("10.0.0.1/31", ""),
        ("10.0.0.0/31", ""),
        ("10.0.0.0/32", ""),
        ("fd00::/64", ""),
    ],
)
def test_the_first_and_the_last_address_of_a_network(address: str, reason: str) -> None:
    data = {"network": {"lan": {"interface": "en*", "addresses": [address]}}}
    if not reason:
        assert Settings.model_validate(data).network["lan"].addresses == (address,)
        return
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(data)
    assert reason in str(caught.value)


def sheet(folder: Path, content: bytes) -> set[str]:
    path = folder / "gateways.csv"
    path.write_bytes(content)
    return lines(path)


@pytest.mark.parametrize("first", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n'])
def test_the_separator_of_a_spreadsheet(tmp_path: Path, first: str) -> None:
    rows = f"{first}hostname;ntp\nbox-1;10.0.0.1,10.0.0.2\n"
    assert {"box-1", "10.0.0.2"} <= sheet(tmp_path, rows.encode())
    assert {"box-1", "10.0.0.2"} <= sheet(tmp_path, rows.encode("utf-16"))


@pytest.mark.parametrize("cell", ["'00012345", '"=""00012346"""', "1,23457E+15", "vielleicht"])
def test_what_a_spreadsheet_made_of_a_cell(tmp_path: Path, cell: str) -> None:
    column = "network.lan.required" if cell == "vielleicht" else "serial"
    rows = "hostname;network.lan.interface;{}\nbox-1;eth0;{}\n"
    assert sheet(tmp_path, rows.format("serial", "00012345").encode())
    with pytest.raises(ProvisionError, match=rf":2: {column}: "):
        sheet(tmp_path, rows.format(column, cell).encode())


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("1.1.0~rc1", "never see"), ("1.1.0^1", "never see"), ("1.1.0-rc1", "newer than 1.1.0"),
        ("1.1.0-beta.2", "newer than 1.1.0"), ("2rc1", "newer than 2"), ("1_0", "such as '1.2.0'"),
    ],
)  # fmt: skip
def test_versions_that_gateways_do_not_order_as_people_do(version: str, why: str) -> None:
    assert Image.model_validate({"version": "1.1.0-2"}).version == "1.1.0-2"
    with pytest.raises(ValidationError, match=why):
        Image.model_validate({"version": version})


def test_versions_are_ordered_as_systemd_does() -> None:
    # The examples of the version format specification of the UAPI group.
    right = ["~", "", "ab", "abb", "abc", "0001", "002", "12", "122", "122.9", "123~rc1", "123",
             "123-a", "123-a.1", "123-a1", "123-a1.1", "123-3", "123-3.1", "123^patch1", "123^1",
             "123.a", "123.1", "123a-1", "124"]  # fmt: skip
    for number, version in enumerate(right):
        assert not order.is_older(version, version)
        for later in right[number + 1 :]:
            assert order.is_older(version, later), (version, later)
            assert not order.is_older(later, version), (version, later)


def test_a_release_is_not_older_than_one_before() -> None:
    order.require("1.1.0", ["1.0.9", "1.0.10"])
    with pytest.raises(ReleaseError, match=r"1\.1\.0 is older than 1\.1\.0-rc1"):
        order.require("1.1.0", ["1.0.9", "1.1.0-rc1"])
