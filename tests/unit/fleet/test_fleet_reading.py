"""Fleet files: what spreadsheets and people write, and every mistake of it told at once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edgeimg.errors import EdgeimgError, ProvisionError
from edgeimg.fleet import columns, csv_rows, reading, token
from edgeimg.fleet.columns import Column
from edgeimg.fleet.reading import Fleet
from pydantic import SecretStr

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxvb2sgbm8gZnVydGhlciwgdGhlcmUgaXMgbm8ga2V5 ada"
SITE = f"""
ssh_keys = ["{KEY}"]
timezone = "Europe/Berlin"
[k3s]
role = "agent"
token_file = "token"
[k3s.labels]
hall = "7"
"""
CSV = """hostname,disk_serial,network.lan.mac,network.lan.addresses,k3s.role
box-1,S1,52:54:00:00:00:01,192.168.77.1/24,server
box-2,S2,52:54:00:00:00:02,192.168.77.2/24,
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("hush-hush\n")
    (tmp_path / "site.toml").write_text(SITE)
    return tmp_path


def load(folder: Path, text: str | bytes, name: str = "fleet.csv", **more: object) -> Fleet:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    if name.endswith(".csv"):
        more.setdefault("defaults", folder / "site.toml")
    return reading.load(path, **more)  # type: ignore[arg-type]


def errors(folder: Path, text: str | bytes, name: str = "fleet.csv", **more: object) -> list[str]:
    with pytest.raises(ProvisionError) as refused:
        load(folder, text, name, **more)
    head, *lines = str(refused.value).split("\n  ")
    assert head == f"{folder / name} has {len(lines)} error{'s' * (len(lines) > 1)}"
    return [line.removeprefix(f"{folder}/") for line in lines]


def test_rows_are_settings_over_defaults(folder: Path) -> None:
    one, two = load(folder, CSV).gateways
    assert (one.name, one.box.disk_serial, one.mac) == ("box-1", "S1", "52:54:00:00:00:01")
    assert two.settings.network["lan"].addresses == ("192.168.77.2/24",)
    assert one.settings.ssh_keys == (KEY,)
    assert one.settings.k3s is not None
    assert two.settings.k3s is not None
    assert (one.settings.k3s.role, two.settings.k3s.role) == ("server", "agent")
    assert one.settings.k3s.labels == {"hall": "7"}
    # The only server is that of the agents that name none.
    assert two.settings.k3s.server == "https://192.168.77.1:6443"
    assert two.files()["edgeimg/hostname"] == b"box-2\n"
    assert b'token: "hush-hush"' in two.files()["edgeimg/k3s.yaml"]


def test_toml_says_the_same(folder: Path) -> None:
    tables = SITE.replace("[k3s", "[defaults.k3s").replace("ssh_keys", "[defaults]\nssh_keys")
    rows = """
[[gateway]]
hostname = "box-1"
disk_serial = "S1"
[gateway.k3s]
role = "server"
[gateway.network.lan]
mac = "52:54:00:00:00:01"
addresses = ["192.168.77.1/24"]
[[gateway]]
hostname = "box-2"
disk_serial = "S2"
network.lan = {mac = "52:54:00:00:00:02", addresses = ["192.168.77.2/24"]}
"""
    assert load(folder, tables + rows, "fleet.toml").gateways == load(folder, CSV).gateways


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "\ufeff" + text,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace(",", ";"),
        lambda text: text.replace(",", "\t"),
        lambda text: '# made by "somebody\n\n' + text.replace("box-2", "#box-9,,,,\nbox-2"),
        lambda text: text + ",,,,\n\n",
        lambda text: text.replace("S1", '"S1"').replace("box-2", " box-2 "),
        lambda text: "".join(line + ",,\n" for line in text.splitlines()),
        lambda text: text.rstrip("\n"),
    ],
)  # fmt: skip
def test_what_spreadsheets_make_of_it(folder: Path, change) -> None:
    assert load(folder, change(CSV)).gateways == load(folder, CSV).gateways


def test_quoted_cells_may_hold_anything(folder: Path) -> None:
    text = "hostname,serial,network.lan.interface,network.lan.addresses,k3s.labels.example.org/at\n"
    text += 'a,"A ""1"", left",en*,"10.0.0.1/8, fd00::1/64",x\nb,"#2\n",en*,10.0.0.2/8,y\nc,,,,\n'
    site = folder / "site.toml"
    site.write_text(SITE.replace('role = "agent"\n', ""))
    one, two, three = load(folder, text).gateways
    assert one.box.serial == 'A "1", left'
    assert one.settings.network["lan"].addresses == ("10.0.0.1/8", "fd00::1/64")
    assert one.settings.k3s is not None
    assert one.settings.k3s.labels == {"hall": "7", "example.org/at": "x"}
    assert two.box.serial == "#2"
    assert three.settings.network == {}


def test_every_error_of_every_row_at_once(folder: Path) -> None:
    text = """hostname,network.lan.adress,disk_serial,tmezone,wifi.networks,network,hostname
box-1,x,S1,,,,
box_2,,S1,,,
,,S3,,
box-4,,,,,,,,5
"""
    told = errors(folder, text, defaults=None)
    told[6] = told[6][: told[6].index("expected")]  # its words are the settings'
    assert told == [
        "fleet.csv:1: hostname: this column is there twice",
        "fleet.csv:1: network.lan.adress: unknown column; did you mean 'network.lan.addresses'?",
        "fleet.csv:1: network: is a table: name a key in it, such as network.NAME",
        "fleet.csv:1: tmezone: unknown column; did you mean 'timezone'?",
        "fleet.csv:1: wifi.networks: is a list of tables: put it into the file of --defaults",
        "fleet.csv:3: disk_serial: S1 is that of box-1 already (line 2)",
        "fleet.csv:3: hostname: ",
        "fleet.csv:4: hostname: is missing",
        "fleet.csv:5: has 9 cells, and there are 7 columns",
    ]


def test_serial_numbers_are_what_can_be_printed(folder: Path) -> None:
    (told,) = errors(folder, CSV.replace("S1", "S\u00fc"))
    assert told == (
        "fleet.csv:2: disk_serial: expected a serial number: at most 64 letters, digits and signs "
        "(ASCII), found 'S\u00fc'"
    )


@pytest.mark.parametrize(
    ("serial", "why"),
    [
        ("1.23E+15", "made a number of it"), ("123,4E+06", "made a number of it"),
        ("1E5", ""), ("12E345", ""), ("0x1F", ""), ("#12", ""),
        ("#REF!", "an error of the spreadsheet"), ("#N/A", "an error of the spreadsheet"),
        ("#¡VALOR!", "an error of the spreadsheet"), ("Err:502", "an error of the spreadsheet"),
        ("########", "the column was too narrow"), ("###", "the column was too narrow"),
    ],
)  # fmt: skip
def test_what_a_spreadsheet_wrote_in_place_of_a_value(folder: Path, serial: str, why: str) -> None:
    text = f'hostname;k3s.server;serial\ngw-1;https://10.0.0.1:6443;"{serial}"\n'
    if why:
        (line,) = errors(folder, text)
        assert "fleet.csv:2: serial: " in line
        assert why in line
    else:
        assert load(folder, text)


def test_what_two_gateways_claim_is_told_with_both_lines(folder: Path) -> None:
    text = """hostname,disk_serial,serial,mac,network.lan.mac,network.lan.addresses,k3s.node_ips
a,S1,B1,,52:54:00:00:00:0a,10.0.0.1/8,10.0.0.1
a,S1,B1,52:54:00:00:00:0A,52:54:00:00:00:0b,10.0.0.1/24,10.0.0.1
"""
    (folder / "site.toml").write_text("")
    told = errors(folder, text)
    assert [line.split(": ")[1] for line in told] == [
        "disk_serial", "hostname", "k3s.node_ips", "mac", "network.lan.addresses", "serial",
    ]  # fmt: skip
    assert all(line.endswith("is that of a already (line 2)") for line in told)


def test_errors_of_toml_have_the_lines_of_their_rows(folder: Path) -> None:
    text = """[defaults]
timezone = "Europe/Berln"
[defualts]
[[gateway]]
hostname = "a"
[gateway.network.lan]
adresses = ["192.168.77.1/24"]
interface = "en*"
[[gateway]]
disc_serial = "x"
hostname = "b"
[gateway.network.lan]
interface = "en*"
mtu = 5
"""
    told = errors(folder, text, "fleet.toml")
    assert [line.split(": ")[0] for line in told] == [
        f"fleet.toml:{number}" for number in (2, 3, 7, 10, 14)
    ]
    assert "did you mean 'disk_serial'" in told[3]


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("fleet.csv", b"", "no line of column names"),
        ("fleet.csv", b"# nothing\n", "no line of column names"),
        ("fleet.csv", b"hostname\n", "there is no gateway in it"),
        ("fleet.csv", b'hostname\n"box-1\n', "no CSV"),
        ("fleet.csv", b'hostname\n"box"-1\n', "no CSV"),
        ("fleet.csv", b"hostname\nb\xfcro\n", ":2: not UTF-8"),
        ("fleet.csv", "hostname\n".encode("utf-16"), "there is no gateway in it"),
        ("fleet.csv", b"PK\x03\x04\0\0", "no CSV"),
        ("fleet.csv", b"hostname,,k3s.role\nx,,\n", "column 2 has no name"),
        ("fleet.toml", b"", "there is no gateway in it"),
        ("fleet.toml", b"[gateway]\nhostname='a'\n", "expected [[gateway]]"),
        ("fleet.toml", b"defaults = 1\n[[gateway]]\nhostname='a'\n", "expected a table"),
        ("fleet.toml", b"[[gateway]\n", ":1: not TOML"),
        ("fleet.xlsx", b"PK", "neither .csv nor .toml"),
    ],
)
def test_files_that_are_none(folder: Path, name: str, text: bytes, why: str) -> None:
    (folder / "site.toml").write_text("")
    with pytest.raises(ProvisionError) as refused:
        load(folder, text, name)
    assert why in str(refused.value)


def test_every_cut_of_a_file_is_read_or_refused(folder: Path) -> None:
    whole = CSV.replace("S1", '"S1"').encode()
    for length in range(len(whole)):
        try:
            load(folder, whole[:length])
        except EdgeimgError as error:
            assert str(folder / "fleet.csv") in str(error)


CLUSTERS = {
    "an agent's server is an agent": (
        "a,server,,10.0.0.1/8\nb,agent,https://10.0.0.1:6443,10.0.0.2/8\n"
        "c,agent,https://10.0.0.2:6443,10.0.0.3/8\n",
        ["4: k3s.server: is b, which is an agent, not a server"],
    ),
    "two servers, and nobody knows whose the agent is": (
        "a,server,,10.0.0.1/8\nb,server,,10.0.0.2/8\nc,agent,,10.0.0.3/8\n",
        ["4: k3s.server: is missing, and the file does not have exactly one server"],
    ),
    "a server beside the cluster": (
        "a,server,,10.0.0.1/8\nb,server,,10.0.0.2/8\nc,agent,https://a:6443,10.0.0.3/8\n",
        ["3: k3s.role: b would be a cluster of its own beside the others"],
    ),
    "an agent of itself": (
        "a,agent,https://10.0.0.1:6443,10.0.0.1/8\n", ["2: k3s.server: is a itself"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CLUSTERS)
def test_clusters_that_would_be_none(folder: Path, case: str) -> None:
    rows, expected = CLUSTERS[case]
    (folder / "site.toml").write_text('network.lan.interface = "en*"\nk3s.token_file = "token"\n')
    told = errors(folder, "hostname,k3s.role,k3s.server,network.lan.addresses\n" + rows)
    for line, wanted in zip(told, expected, strict=True):
        assert line.removeprefix("fleet.csv:").startswith(wanted)


@pytest.mark.parametrize(
    "rows",
    [
        "a,server,,10.0.0.1/8\nb,server,,10.0.0.2/8\n",  # each on its own
        "a,server,,10.0.0.1/8\nb,server,https://10.0.0.1:6443,10.0.0.2/8\nc,agent,,10.0.0.3/8\n",
        "a,agent,https://k3s.example:6443,10.0.0.1/8\nb,agent,https://10.9.9.9:6443,10.0.0.2/8\n",
        "a,server,,10.0.0.1/8\nb,agent,https://10.0.0.1:6443,10.0.0.2/8\n"
        "c,server,,10.0.0.3/8\nd,agent,https://10.0.0.3:6443,10.0.0.4/8\n",  # two sites
    ],
)
def test_clusters_that_are_some(folder: Path, rows: str) -> None:
    (folder / "site.toml").write_text('network.lan.interface = "en*"\nk3s.token_file = "token"\n')
    assert load(folder, "hostname,k3s.role,k3s.server,network.lan.addresses\n" + rows)


def test_secrets_are_asked_for_once_and_shown_nowhere(folder: Path) -> None:
    (folder / "site.toml").write_text(
        SITE.replace('token_file = "token"\n', "")
        + '[wifi]\ncountry = "DE"\nnetworks = [{ssid = "hall"}]\n'
    )
    asked: list[str] = []

    def ask(purpose: str) -> str:
        asked.append(purpose)
        return "12345678"

    fleet = load(folder, CSV, ask=ask)
    assert asked == ["token of the cluster", "passphrase of 'hall'"]
    assert all(b"12345678" in one.files()["edgeimg/k3s.yaml"] for one in fleet.gateways)
    assert "12345678" not in f"{fleet!r}{reading.summary(fleet)}"
    told = errors(folder, CSV)
    assert any("k3s.token_file: is missing" in line for line in told)
    given = load(folder, CSV, token=SecretStr("made-it-up"), ask=ask)
    assert all(b"made-it-up" in one.files()["edgeimg/k3s.yaml"] for one in given.gateways)


def test_a_secret_in_the_place_of_its_file_is_not_repeated(folder: Path) -> None:
    text = CSV.replace("k3s.role", "k3s.role,k3s.token_file").replace("server", "server,s3cr3t")
    assert not any("s3cr3t" in line for line in errors(folder, text))


def test_digests_tell_settings_apart_but_nothing_of_secrets(folder: Path) -> None:
    before = [one.digest() for one in load(folder, CSV).gateways]
    assert len(set(before)) == 2
    (folder / "token").write_text("another\n")
    assert [one.digest() for one in load(folder, CSV).gateways] == before
    other = load(folder, CSV.replace("192.168.77.2/24", "192.168.77.9/24")).gateways
    assert other[0].digest() == before[0]
    assert other[1].digest() != before[1]


def test_paths_are_relative_to_the_file_that_names_them(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere/site.toml").write_text(SITE)
    (folder / "elsewhere/token").write_text("from-there\n")
    fleet = load(folder, CSV, defaults=folder / "elsewhere/site.toml")
    assert b"from-there" in fleet.gateways[0].files()["edgeimg/k3s.yaml"]


def test_a_generated_token_is_made_once_and_kept_from_others(folder: Path) -> None:
    path = folder / "fleet.csv"
    with pytest.raises(ProvisionError, match="there is no fleet file"):
        token.generate(path)
    path.write_text(CSV)
    first, is_new = token.generate(path)
    assert is_new
    assert (folder / "fleet.token").stat().st_mode & 0o777 == 0o600
    assert len(first.get_secret_value()) == 64
    assert token.generate(path) == (first, False)
    (folder / "fleet.token").chmod(0o644)
    with pytest.raises(ProvisionError, match="others can read"):
        token.generate(path)


def test_names_are_chosen_and_near_ones_offered(folder: Path) -> None:
    fleet = load(folder, CSV)
    assert [one.name for one in fleet.named(("box-2",)).gateways] == ["box-2"]
    assert fleet.named(()) == fleet
    with pytest.raises(ProvisionError, match=r"no gateway bix-2; did you mean 'box-2'"):
        fleet.named(("bix-2",))


def test_defaults_are_said_once(folder: Path) -> None:
    text = "[defaults]\ntimezone = 'UTC'\n[[gateway]]\nhostname = 'a'\n"
    with pytest.raises(ProvisionError, match="a second one"):
        load(folder, text, "fleet.toml", defaults=folder / "site.toml")


@pytest.mark.parametrize(
    ("name", "location", "many"),
    [
        ("hostname", ("hostname",), False),
        ("ssh_keys", ("ssh_keys",), True),
        ("ca_files", ("ca_files",), True),
        ("network.lan.dns", ("network", "lan", "dns"), True),
        ("network.lan.dhcp", ("network", "lan", "dhcp"), False),
        ("k3s.config.flannel-iface", ("k3s", "config", "flannel-iface"), False),
        ("registries.'docker.io'.endpoints", ("registries", "docker.io", "endpoints"), True),
        ('registries."docker.io".password_file', ("registries", "docker.io", "password_file"),
         False),
        ("arch", ("arch",), False),
    ],
)  # fmt: skip
def test_columns(name: str, location: tuple[str, ...], many: bool) -> None:
    assert columns.resolve(name) == Column(location=location, many=many)


@pytest.mark.parametrize("name", ["k3s", "hostname.x", "mac.x", "x", ".", "network.lan", "k3s.rol"])
def test_columns_that_are_none(name: str) -> None:
    assert isinstance(columns.resolve(name), str)


def test_lines_are_counted_through_comments_and_long_cells(folder: Path) -> None:
    path = folder / "x.csv"
    path.write_text('# a\nhostname,serial\n# b\na,"1\n2"\n\n#c\nb,2\n')
    assert [row.start.line for row in csv_rows.read(path).rows] == [4, 8]


def test_a_summary_is_plain(folder: Path) -> None:
    told = reading.summary(load(folder, CSV))
    assert json.loads(json.dumps(told)) == told
    assert "hush" not in json.dumps(told)
