"""Settings of the kinds that tests/cases/settings.tar.xz holds, in further shapes."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeimg.errors import ProvisionError
from edgeimg.fleet import reading as fleets
from edgeimg.provision import advice, nocloud, reading
from edgeimg.provision.rendering import files
from edgeimg.provision.settings import Settings
from edgeimg.recipe.k3s import K3s

from tests.gateway_root import KEY, Root

LAN = '[network.a]\ninterface = "eth0"\n'
TWO = LAN + '{}[network.b]\ninterface = "eth1"\n{}'
PROXY = '[proxy]\nhttp = "http://p.lan:3128"\n'
LOGIN = '[registries."r.lan"]\nuser = "u"\npassword_file = "{}"\n'
NAMED = {
    "pw": b"hush\n", "blank": b"hush \n", "lead": b" hush\n", "empty": b"", "two": b"a\nb\n",
    "config.json": b'{"auths": {"r.lan": {"auth": "dTpw"}}}\n', "nul": b"a\0b\n",
}  # fmt: skip

TAKEN = {
    '[wifi]\ncountry = "GB"\nnetworks = [{ssid = "a", security = "open"}]\n': "country=GB",
    LAN + 'addresses = ["10.0.0.5/255.255.255.0"]\n': "Address=10.0.0.5/24",
    LAN + 'addresses = ["169.254.3.4/16"]\n': "Address=169.254.3.4/16",
    LAN + 'addresses = ["fd00::/64"]\nmtu = 1280\n': "Address=fd00::/64",
    LAN + 'mtu = 1200\naddresses = ["10.0.0.5/24"]\n': "MTUBytes=1200",
    '[network.a]\nmac = "5254:0012:3456"\n': "MACAddress=52:54:00:12:34:56",
    '[network.a]\ninterface = "e*"\n': "Name=e*",
    PROXY + 'no_proxy = ["*.example.org", ".svc", "10.0.0.1:80", "10.1.2.3/8", "*", "::1"]\n':
        "NO_PROXY=*.example.org,.svc,10.0.0.1:80,10.1.2.3/8,*,::1",
    '[k3s]\nnode_ips = ["10.0.0.1", "fd00::1"]\n': 'node-ip: "10.0.0.1,fd00::1"',
    '[k3s.config]\ncluster-cidr = ["10.42.0.0/16", "fd42::/56"]\n': '  - "fd42::/56"',
    '[registries."[fd00::5]:5000"]\nendpoints = ["https://[fd00::5]:5000"]\n': "[[fd00::5]:5000]",
    'ntp = ["10.0.0.1", "fd00::1", "0.pool.ntp.org"]\n': "fd00::1",
}  # fmt: skip
REFUSED = {
    LAN + 'addresses = ["10.0.0.5/0"]\n': "expected the prefix of a network, such as /24",
    LAN + 'addresses = ["224.0.0.5/24"]\n': "expected the address of one host",
    LAN + 'addresses = ["255.255.255.255/32"]\n': "expected the address of one host",
    LAN + 'addresses = ["::/64"]\n': "expected the address of one host",
    LAN + 'addresses = ["ff02::1/64"]\n': "expected the address of one host",
    LAN + 'addresses = ["::1/128"]\n': "this one is the gateway itself",
    LAN + 'addresses = ["::ffff:10.0.0.1/96"]\n': "expected '10.0.0.1'",
    LAN + 'dns = ["0.0.0.0"]\n': "expected the address of one host",
    LAN + 'dns = "10.0.0.1"\n': ":3: network.a.dns: expected a list, in brackets",
    LAN + 'addresses = ["10.0.0.5/24"]\ngateway = "10.0.0.5"\n': "of this gateway itself",
    LAN + 'addresses = ["10.0.0.5/24"]\ngateway = "10.0.0.0"\n': "the address of the network",
    LAN + 'addresses = ["10.0.0.5/24"]\ngateway = "10.0.0.255"\n': "the address for broadcast",
    LAN + 'addresses = ["fd00::5/64"]\nroutes = [{to = "::/0", via = "fd00::5"}]\n':
        "routes.0.via: fd00::5 is the address of this gateway itself",
    LAN + 'mtu = 1279\naddresses = ["fd00::2/64"]\n': "mtu: IPv6 needs 1280 bytes",
    LAN + 'mtu = "large"\n': "expected a whole number",
    LAN + 'required = "perhaps"\n': "expected true or false",
    LAN.replace("eth0", "lo"): "interface: lo, a device of the gateway",
    LAN.replace("eth0", "cni0"): "interface: cni0, a device of the gateway",
    LAN.replace("eth0", "*"): "'*' takes lo too",
    LAN.replace("eth0", "v*"): "'v*' takes vethd1c0ffee too",
    LAN + '[network.eth0]\nvlan = 20\non = "a"\n': "[network.a] is a card of this name",
    PROXY + 'no_proxy = ["https://x.lan"]\n': "expected a host alone",
    PROXY + 'no_proxy = ["10.0.0.0/33"]\n': "expected a network such as '10.0.0.0/8'",
    PROXY + 'no_proxy = ["x.lan/path"]\n': "expected a network such as '10.0.0.0/8'",
    PROXY + 'no_proxy = ["10.0.0.256"]\n': "expected an address, or a network",
    PROXY + 'no_proxy = ["10.*"]\n': "expected a",
    PROXY + 'no_proxy = ["192.168.1.1-20"]\n': "expected an address, or a network",
    PROXY + 'no_proxy = ["lan*"]\n': "expected a domain such as '.example.org'",
    '[proxy]\nhttp = "http://10.0.0.300:3128"\n': "expected an address such as 'http://proxy.lan",
    '[k3s]\nserver = "https://10.0.0.300:6443"\n': "expected an address such as 'https://10.0.0.1",
    '[k3s]\nserver = "https://[fd00:::1]:6443"\n': "expected an address such as 'https://10.0.0.1",
    '[k3s]\nnode_ips = ["127.0.0.1"]\n': "others do not reach 127.0.0.1",
    '[k3s]\nnode_ips = ["fe80::1"]\n': "others do not reach fe80::1",
    '[wifi]\ncountry = "UK"\nnetworks = [{ssid = "a", security = "open"}]\n': "'DE' or 'GB'",
    '[k3s]\nnode_ips = ["10.0.0.1", "10.0.0.2"]\n': "one address of IPv4 and one of IPv6",
    '[k3s]\ntaints = "a:NoSchedule"\n': "expected a list, in brackets",
    '[k3s]\nlabels = {site = 7}\n': "expected a text, in quotes",
    "[k3s.config]\ndisable = []\n": "an empty list changes nothing on a gateway: remove it",
    '[k3s.config]\n"disable+" = []\n': "an empty list changes nothing on a gateway: remove it",
    '[k3s.config]\ntls-san = {a = "b"}\n': "expected a value, or a list of values",
    "[k3s.config]\ntls-san = [[1]]\n": "expected a value, or a list of values",
    '[k3s.config]\ncluster-cidr = "10.42.1.0/16"\n': "expected '10.42.0.0/16', the whole network",
    '[k3s.config]\ncluster-cidr = "10.420.0.0/16"\n': "10.420.0.0/16 is no IP address",
    '[k3s.config]\nservice-cidr = "10.43.0.0/16,fd43::/129"\n': "fd43::/129 is no IP address",
    '[k3s.config]\ncluster-dns = "10.43.0.300"\n': "10.43.0.300 is no IP address",
    '[registries."index.docker.io"]\ninsecure = true\n': "expected 'docker.io'",
    '[registries."https://index.docker.io/v1/"]\ninsecure = true\n': "expected 'docker.io'",
    '[registries."registry-1.docker.io"]\ninsecure = true\n': "expected 'docker.io'",
    '[registries."r.lan:5000/team"]\ninsecure = true\n': "expected 'r.lan:5000', without anything",
    '[registries."r.lan:99999"]\ninsecure = true\n': "expected a registry such as",
    '[registries."_default"]\ninsecure = true\n': "expected a registry such as",
    '[registries."docker.io"]\nendpoints = "https://a"\n': "expected a list, in brackets",
    '[registries."docker.io"]\nendpoints = ["https://10.0.0.300"]\n': "expected an address such as",
    LOGIN.format("config.json"): "Docker's config.json: expected the password alone",
    LOGIN.format("blank"): "without blanks around it",
    LOGIN.format("lead"): "without blanks around it",
    LOGIN.format("empty"): "should hold one line of text",
    LOGIN.format("two"): "should hold one line of text",
    LOGIN.format("nul"): "the character U+0000 in it",
    'ntp = ["10.0.0.300"]\n': "expected the name or address of a server",
    'ntp = ["pool..ntp.org"]\n': "expected the name or address of a server",
    "hostname = 7\n": "expected a text, in quotes",
    "timezone = 2\n": "expected a text, in quotes",
    'ssh_key_files = ["~nobody-of-this-name/x"]\n': "expected the path of a file, without '~'",
}  # fmt: skip
WARNED = {
    TWO.format("", ""): "network.a and network.b may both have a default route",
    TWO.format('addresses=["10.0.0.2/24"]\ngateway="10.0.0.1"\n',
               'addresses=["10.1.0.2/24"]\nroutes=[{to="0.0.0.0/0",via="10.1.0.1"}]\n'):
        "network.a and network.b may both have a default route",
    TWO.format("metric = 100\n", ""): "",
    TWO.format("", 'dhcp = "ipv6"\n'): "",
    TWO.format('addresses = ["10.0.0.2/24"]\n', 'addresses = ["10.0.0.3/24"]\n'):
        "network.a: 10.0.0.2/24 is in 10.0.0.0/24 of network.b",
    TWO.format('addresses = ["10.0.0.2/24"]\n', 'addresses = ["10.0.1.3/24"]\n'): "",
    LAN + '[network.w]\ninterface = "wlan0"\n': "",
    LAN + 'dns = ["127.0.0.53"]\n': "network.a: dns: 127.0.0.53 is the gateway itself",
    LAN + 'addresses = ["10.0.0.2/1"]\n': "10.0.0.2/1 overlaps 10.42.0.0/16",
    LAN + 'addresses = ["10.1.0.2/24"]\nroutes = [{to = "10.42.0.0/15", via = "10.1.0.1"}]\n':
        "10.42.0.0/15 overlaps 10.43.0.0/16",
    LAN + 'dns = ["10.43.0.10"]\n': "10.43.0.10 overlaps 10.43.0.0/16",
    'ntp = ["10.42.0.1", "ntp.lan"]\n': "10.42.0.1 overlaps 10.42.0.0/16",
    '[k3s]\nserver = "https://10.42.0.9:6443"\n': "10.42.0.9 overlaps 10.42.0.0/16",
    LAN + 'addresses = ["10.0.0.2/24"]\ngateway = "10.0.0.1"\ndns = ["10.41.0.1", "fd00::1"]\n'
        '[k3s]\nserver = "https://gw.lan:6443"\n': "",
    LAN + 'addresses = ["10.0.0.2/24"]\n[k3s]\nrole = "agent"\nserver = "https://10.0.0.2:6443"\n'
        'token_file = "pw"\n': "https://10.0.0.2:6443 is this gateway",
    '[k3s.config]\ncluster-cidr = "10.96.0.0/12"\nservice-cidr = "10.100.0.0/16"\n':
        "cluster-cidr 10.96.0.0/12 overlaps service-cidr 10.100.0.0/16",
    '[k3s.config]\ncluster-dns = "10.43.0.10"\nservice-cidr = "10.96.0.0/12"\n':
        "cluster-dns 10.43.0.10 is not in service-cidr 10.96.0.0/12",
    '[k3s.config]\ncluster-dns = "10.96.0.10"\nservice-cidr = "10.96.0.0/12"\n': "",
    '[k3s]\nserver = "https://10.0.0.1"\n': "K3s asks port 443: https://10.0.0.1:6443",
    '[k3s]\nserver = "https://[fd00::1]/"\n': "K3s asks port 443: https://[fd00::1]:6443",
    '[k3s]\nserver = "https://10.0.0.1:443"\n': "",
    '[k3s.config]\ndisable = ["treafik"]\n': "K3s has no 'treafik'; did you mean 'traefik'?",
    '[k3s.config]\n"disable+" = "local-path,servicelb"\n': "",
    '[k3s.config]\n"disable+" = "traefik,metric-server"\n': "did you mean 'metrics-server'?",
}  # fmt: skip
HEAD = "hostname,serial,network.lan.interface,network.lan.addresses\n"
SHEETS = {
    "hostname|serial\nbox-1|x\n": "box-1",
    "sep=|\nhostname|serial\nbox-1|x\n": "box-1",
    HEAD + "box-1,\u202dx\u202c,eth0,\u200b10.0.0.1/24\u200b\n": "Address=10.0.0.1/24",
    "\u200bhostname\nbox-1\n": "box-1",
    "hostname,network.lan.interface,network.lan.dhcp\nbox-1,eth0,on\n": "DHCP=yes",
    "hostname,network.lan.interface,network.lan.dhcp\nbox-1,eth0,off\n": "DHCP=no",
    "hostname,serial\nbox-1,1.5\n": "box-1",
}
BAD_SHEETS = {
    "HOSTNAME,SERIAL\nbox-1,x\n": ":1: SERIAL: unknown column; did you mean 'serial'?",
    "hostname,Network.LAN.mtu\nbox-1,1\n": "unknown column; did you mean 'network'?",
    "hostname,serial\nbox-1,#N/A\n": ":2: serial: an error of the spreadsheet",
    "hostname,serial\nbox-1,#BEZUG!\n": ":2: serial: an error of the spreadsheet",
    "hostname,serial\nbox-1,#NAME?\n": ":2: serial: an error of the spreadsheet",
    "hostname,disk_serial\nbox-1,N/A\n": ":2: disk_serial: expected an empty cell",
    "hostname,disk_serial\nbox-1,-\n": ":2: disk_serial: expected an empty cell",
    "hostname,disk_serial\nbox-1,NULL\n": ":2: disk_serial: expected an empty cell",
    "hostname,disk_serial\nbox-1,1234567.0\n": ":2: disk_serial: a program made a number of it",
    "hostname,serial\nbox\u00ad-1,x\n": ":2: hostname: has the invisible character U+00AD",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, content in NAMED.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def load(folder: Path, text: str) -> Settings:
    path = folder / "settings.toml"
    path.write_text(text)
    return reading.load(path, lambda _: "hush-hush")


def lines(settings: Settings) -> list[str]:
    return b"".join(files(settings).values()).decode().splitlines()


@pytest.mark.parametrize("text", TAKEN)
def test_it_is_taken(folder: Path, text: str) -> None:
    assert TAKEN[text] in lines(load(folder, text))


@pytest.mark.parametrize("text", REFUSED)
def test_it_is_refused_in_words(folder: Path, text: str) -> None:
    with pytest.raises(ProvisionError) as caught:
        load(folder, text)
    assert REFUSED[text] in caught.value.message


@pytest.mark.parametrize("text", WARNED)
def test_warnings(folder: Path, text: str) -> None:
    found = advice.warnings(load(folder, text))
    if not WARNED[text]:
        assert found == []
        return
    assert any(WARNED[text] in line for line in found)


def test_a_key_file_in_the_home_directory(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    (folder / ".ssh").mkdir()
    (folder / ".ssh/id.pub").write_text(f"{KEY}\n")
    assert KEY in lines(load(folder, 'ssh_key_files = ["~/.ssh/id.pub"]\n'))


def test_a_recipe_names_registries_as_settings_do() -> None:
    mirror = {"endpoints": ["https://m.lan"]}
    assert K3s.model_validate({"registries": {"docker.io": mirror, "*": mirror}}).registries
    with pytest.raises(ValueError, match=r"expected 'docker\.io'"):
        K3s.model_validate({"registries": {"index.docker.io": mirror}})


def sheet(folder: Path, content: bytes) -> list[str]:
    path = folder / "gateways.csv"
    path.write_bytes(content)
    gateways = fleets.load(path).gateways
    assert all(gateway.settings.hostname == "box-1" for gateway in gateways)
    return [line for gateway in gateways for line in lines(gateway.settings)]


@pytest.mark.parametrize("text", SHEETS)
def test_a_sheet_that_is_taken(folder: Path, text: str) -> None:
    assert SHEETS[text] in sheet(folder, text.encode())


@pytest.mark.parametrize("text", BAD_SHEETS)
def test_a_sheet_that_is_refused(folder: Path, text: str) -> None:
    with pytest.raises(ProvisionError) as caught:
        sheet(folder, text.encode())
    assert BAD_SHEETS[text] in caught.value.message


def test_the_file_of_an_old_spreadsheet(folder: Path) -> None:
    with pytest.raises(ProvisionError, match="is the file of a spreadsheet"):
        sheet(folder, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")


WAYS = {
    "version: 2\nethernets: {eth0: {dhcp4: true, macaddress: '02:00:00:00:00:01'}}\n":
        "macaddress: is not supported; a card keeps its own address",
    "version: 2\ntunnels: {wg0: {mode: wireguard}}\n": "wireguard.peers: is missing",
    "version: 2\nvrfs: {blue: {table: 1}}\n": "vrfs: is not supported; write a file",
    "version: 2\nmodems: {wwan0: {apn: x}}\n": "[lte] has apn",
    "version: 2\nwifis: {wlan0: {access-points: {x: {password: hush-hush}}}}\n":
        "wifis.wlan0.regulatory-domain: expected the country",
    "version: 2\nethernets: {all: {match: {name: '*'}, dhcp4: true}}\n": "'*' takes lo too",
    "version: 2\nethernets:\n\teth0: {dhcp4: true}\n": ":3: not YAML: a tab in front of a value",
}  # fmt: skip


@pytest.mark.parametrize("text", WAYS)
def test_networks_of_other_tools_are_refused_with_a_way_on(folder: Path, text: str) -> None:
    (path := folder / "network-config").write_text(text)
    with pytest.raises(ProvisionError) as caught:
        nocloud.load((path,))
    assert WAYS[text] in caught.value.message
    assert "wifi.country" not in caught.value.message


def test_the_country_of_one_wireless_card_is_that_of_all(folder: Path) -> None:
    point = "access-points: {x: {password: hush-hush}}"
    (path := folder / "network-config").write_text(
        f"version: 2\nwifis:\n  wl0: {{regulatory-domain: DE, {point}}}\n  wl1: {{{point}}}\n"
    )
    assert "country=DE" in lines(nocloud.load((path,)))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("Adress=10.0.0.2/24", "Address"), ("Gatway=10.0.0.1", "Gateway"),
        ("Addresses=10.0.0.2/24", "Address"), ("address=10.0.0.2/24", "Address"),
        ("DHCP4=yes", "DHCP"), ("dhcp=yes", "DHCP"), ("Domain=lan", "Domains"),
        ("[Match]\nMacAdress=52:54:00:12:34:56", "MACAddress"),
        ("[Route]\nDestinaton=10.0.0.0/8", "Destination"), ("[Link]\nMTUByte=1400", "MTUBytes"),
    ],
)  # fmt: skip
def test_keys_that_networkd_would_pass_over(tmp_path: Path, written: str, meant: str) -> None:
    root = Root(tmp_path)
    name, head = "edgeimg/network/10-lan.network", b"[Match]\nName=eth0\n[Network]\nLLDP=no\n"
    root.put({name: head + written.encode() + b"\n"})
    assert f"unknown key {written.rpartition(chr(10))[2].partition('=')[0]}=" in root.start()
    assert f"did you mean {meant}=?" in root.start()
    # Right ones are taken, and those that only a newer systemd may have.
    root.put({name: head + b"DHCP=yes\nIPv6RetransmissionTimeSec=5\nMPLSRouting=no\nVXLAN=v\n"})
    assert root.start() == ""


def test_keys_that_networkd_has_are_taken(tmp_path: Path) -> None:
    root = Root(tmp_path)
    binary = Path("/usr/lib/systemd/systemd-networkd")
    if not binary.exists():
        pytest.skip("no systemd-networkd: apt install systemd")
    known: dict[str, set[str]] = {}
    for word in binary.read_bytes().split(b"\0"):
        section, dot, key = word.partition(b".")
        if (
            dot
            and key.isalnum()
            and section in (b"Match", b"Link", b"Network", b"Address", b"Route")
        ):
            known.setdefault(section.decode(), set()).add(key.decode())
    assert known["Network"] > {"Address", "DHCP"}
    known["Match"] -= {"Name"}
    keys = {"Address": "10.0.0.1/24", "Gateway": "10.0.0.2"}
    text = "[Match]\nName=eth0\n" + "".join(
        f"[{section}]\n" + "".join(f"{key}={keys.get(key, 'yes')}\n" for key in sorted(found))
        for section, found in known.items()
    )
    root.put({"edgeimg/network/10-lan.network": text.encode()})
    assert root.start() == ""


def test_docker_hub_is_asked_where_its_images_are(tmp_path: Path) -> None:
    root = Root(tmp_path)
    registry = {"user": "me", "password_file": "pw"}
    (tmp_path / "pw").write_text("hush\n")
    settings = Settings.model_validate(
        {"registries": {"docker.io": registry, "[fd00::5]:5000": registry}},
        context={"folder": tmp_path},
    )
    root.put(files(settings))
    assert root.start() == ""
    config = root.read("etc/containerd/config.toml")
    assert 'registry.configs."registry-1.docker.io".auth]' in config
    assert 'registry.configs."[fd00::5]:5000".auth]' in config
    hosts = root.read("etc/containerd/certs.d/docker.io/hosts.toml")
    assert '[host."https://registry-1.docker.io"]' in hosts
    assert '"https://[fd00::5]:5000"' in root.read(
        "etc/containerd/certs.d/[fd00::5]:5000/hosts.toml"
    )


def test_leftovers_of_other_systems_are_passed_over(tmp_path: Path) -> None:
    root = Root(tmp_path)
    left = ("Thumbs.db", "desktop.ini", "hostname~", "network/Desktop.ini", "network/x.network~")
    root.put({f"edgeimg/{name}": b"x\0" for name in left} | {"edgeimg/hostname": b"box-1\n"})
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-1\n"
    root.put({"edgeimg/hostname.bak": b"box-1\n"})
    assert "hostname.bak: unknown" in root.start()
