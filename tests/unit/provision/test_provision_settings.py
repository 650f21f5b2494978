"""Settings of a gateway: what may be said, what it becomes, and how errors are told."""

from __future__ import annotations

import base64
import configparser
import fnmatch
import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from edgeimg.errors import ProvisionError
from edgeimg.provision import reading, ssh_keys, zones
from edgeimg.provision.reading import SettingsError
from edgeimg.provision.rendering import SECRET, files
from edgeimg.provision.settings import Settings, settings_schema
from edgeimg.recipe.harmless import HARMLESS
from jsonschema import Draft202012Validator
from pydantic import SecretStr, ValidationError

BASE = Path(__file__).parents[3] / "overlays/base"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxvb2sgbm8gZnVydGhlciwgdGhlcmUgaXMgbm8ga2V5 me@desk"
HUSH = "hush-hush-0123456789"


def write(folder: Path, text: str) -> Path:
    path = folder / "gateway.toml"
    path.write_text(text)
    return path


def told(folder: Path, text: str) -> list[str]:
    """What is wrong with settings, without the file's name."""
    with pytest.raises(SettingsError) as caught:
        reading.load(write(folder, text))
    assert HUSH not in caught.value.message
    return [problem.split("gateway.toml:")[1] for problem in caught.value.problems]


def rendered(data: dict[str, Any]) -> dict[str, str]:
    found = files(Settings.model_validate(data))
    return {path.removeprefix("edgeimg/"): content.decode() for path, content in found.items()}


def parsed(text: str) -> configparser.RawConfigParser:
    parser = configparser.RawConfigParser(strict=True, delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(text)
    return parser


def test_every_error_is_told_with_its_line_and_what_may_be_meant(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{HUSH}\n{HUSH}\n")
    problems = told(
        tmp_path,
        f"""\
hostnam = "box"
timezone = "Europe/Berlim"
ssh_keys = ["-----BEGIN OPENSSH PRIVATE KEY----- {HUSH}"]

[network.lan]
interface = "eth0"
addresses = ["192.168.1.2"]

[k3s]
role = "agnet"
token = "{HUSH}"
token_file = "token"
agent_token_file = "nowhere"

[k3s.config]
nod-ip = "10.0.0.1"
kubelet-args = "x"

[[wifi.networks]]
ssid = "one"

[[wifi.networks]]
sid = "two"
""",
    )
    lines = [int(problem.partition(":")[0]) for problem in problems]
    assert lines == sorted(lines)
    assert problems == [
        "1: hostnam: unknown key; did you mean 'hostname'?",
        "2: timezone: expected a time zone such as 'Europe/Berlin', found 'Europe/Berlim';"
        " did you mean 'Europe/Berlin'?",
        "3: ssh_keys.0: expected a public ssh key, and this is a private one: name *.pub",
        "7: network.lan.addresses.0: expected an address with its prefix, such as"
        " '192.168.1.2/24', found '192.168.1.2'",
        "10: k3s.role: expected 'server' or 'agent', found 'agnet'; did you mean 'agent'?",
        "11: k3s.token: unknown key; did you mean 'token_file'?",
        "12: k3s.token_file: the file that it names should hold one line of text, the secret",
        "13: k3s.agent_token_file: the file that it names cannot be read:"
        " No such file or directory",
        "16: k3s.config.nod-ip: a gateway does not take this option; did you mean 'node-ip'?",
        "17: k3s.config.kubelet-args: a gateway does not take this option;"
        " did you mean 'kubelet-arg'?",
        "19: wifi.country: is missing",
        "22: wifi.networks.1.ssid: is missing",
        "23: wifi.networks.1.sid: unknown key; did you mean 'ssid'?",
    ]  # fmt: skip


NETWORK = "[network.lan]\n"
VLAN = "[network.{}]\nvlan = 3\non = 'lan'\n"
MIRROR = "[registries.{}]\nendpoints = ['https://m']\n"
BAD = {
    "hostname = 'Box'": "expected a name of lower-case letters, digits and '-'",
    "hostname = 3": "expected a text, in quotes, found 3",
    "timezone = 'CET-1CEST'": "expected a time zone",
    "timezone = 'UTC+1'": "expected 'Etc/GMT-1'",
    "timezone = 'GMT-2'": "expected 'Etc/GMT+2'",
    "ntp = ['a b']": "expected the name or address of a server",
    "ca_files = ['key']": "holds a private key",
    "ca_files = ['gateway.toml']": "holds no certificates",
    "ssh_key_files = ['gateway.toml']": "public ssh keys, one a line",
    "script_file = 'gateway.toml'": "'#!/bin/sh' comes first",
    "script_file = 'odd.sh'": "script: would hold control characters",
    "ssh_key_files = ['keys', 'more-keys']": "authorized_keys: would be 8",
    f"{NETWORK}": "'interface' or 'mac'",
    f"{NETWORK}mac = '52:54'": "expected a MAC address",
    f"{NETWORK}interface = 'e0'\nmtu = 9": "greater than or equal to 68, found 9",
    f"{NETWORK}interface = 'e0'\naddresses = ['10.0.0.2/24']\ngateway = '10.0.1.1'":
        "10.0.1.1 is in none of the networks",
    f"{NETWORK}interface = 'e0'\naddresses = ['10.0.0.2/24']\n"
    "routes = [{to = '10.2.0.0/16', via = '10.1.0.1'}]": "10.1.0.1 is in none of the networks",
    f"{NETWORK}interface = 'e0'\naddresses = ['fe80::5%eth0/64']": "expected 'fe80::5'",
    f"{NETWORK}vlan = 3": "a VLAN needs 'on'",
    f"{NETWORK}vlan = 3\non = 'x'": "there is no card [network.x]",
    f"{NETWORK}interface = 'e0'\n[network.b]\ninterface = 'e0'": "e0 is [network.lan] already",
    f"{NETWORK}interface = 'e0'\n"
    + "".join(f"[network.v{i}]\nvlan = {i}\non = 'lan'\n" for i in range(1, 96)):
        "would be 191 files",
    f"{NETWORK}interface = 'e0'\n" + VLAN.format("a") + VLAN.format("b"):
        "a VLAN is there twice",
    "[k3s]\nrole = 'agent'": "an agent needs 'server'",
    "[k3s]\nrole = 'agent'\nserver = '10.0.0.1'": "such as 'https://10.0.0.1:6443'",
    "[k3s]\nrole = 'agent'\nserver = 'https://a'\nconfig.tls-san = 'b'": "is for servers",
    "[k3s.config]\ntoken = 'x'": "has a key of its own in [k3s]: 'token_file'",
    "[k3s.config]\ndebug = \"a\\\"b'c\"": "both kinds of quotes",
    "[k3s.labels]\n'kubernetes.io/x' = 'y'": "kubernetes.io",
    "[proxy]\nuser = 'x'": "expected 'http' or 'https'",
    f"[proxy]\nhttp = 'http://me:{HUSH}@proxy'": "user and password",
    "[wifi]\ncountry = 'DE'\nnetworks = [{ssid = 'x', security = 'wep'}]": "expected 'wpa2'",
    "[wifi]\ncountry = 'DE'\nnetworks = [{ssid = 'x', passphrase_file = 'short'}]": "8 to 63",
    "[lte]\napn = 'a b'": "expected an access point name",
    "[lte]\napn = 'a'\npin_file = 'short'": "PIN of 4 to 8 digits",
    "[registries.a]\npassword_file = 'short'": "'password_file' needs 'user'",
    "[proxy]\nhttp = 'http://a'\npassword_file = 'short'": "'password_file' needs 'user'",
    "[registries.'*']\nuser = 'x'": "expected 'endpoints'",
    MIRROR.format("a") + MIRROR.format("b") + "insecure = true":
        "a and b differ about m",
    "hostname = ": "not TOML",
    "[[network]]\nmtu = 9": "network: expected a table of keys and values",
    "k3s = 'agent'": "k3s: expected a table of keys and values, found 'agent'",
    f"[[lte]]\napn = 'a'\npassword = '{HUSH}'": "lte: expected a table of keys and values",
    f"[lte]\napn = 'a,password={HUSH}'": "expected an access point name",
    f"[lte]\napn = 'a'\nuser = 'me:{HUSH}'": "lte.user: expected a name without spaces",
    f"[proxy]\nhttp = 'http://a'\nuser = 'me:{HUSH}'": "proxy.user: expected a name",
    f"[k3s]\nserver = 'https://me:{HUSH}@10.0.0.1'": "found a value with '@'",
    f"[registries.a]\nendpoints = ['https://me:{HUSH}@m:5000']": "endpoints.0: expected an address",
    f"[registries.'me:{HUSH}@m:5000']\nendpoints = 3": "registries.…: expected a registry",
    f"['me:{HUSH}@m']": "…: unknown key",
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), BAD.items())
def test_what_a_gateway_would_not_take_is_refused_here(
    tmp_path: Path, text: str, expected: str
) -> None:
    (tmp_path / "key").write_text("-----BEGIN PRIVATE KEY-----\n")
    (tmp_path / "short").write_text("hush\n")
    (tmp_path / "odd.sh").write_text("#!/bin/sh\nprintf '\x1b[1mhush'\n")
    for name in ("keys", "more-keys"):
        lines = (f"{KEY} {name} {number:04}\n" for number in range(420))
        (tmp_path / name).write_text("".join(lines))
    with pytest.raises(ProvisionError) as caught:
        reading.load(write(tmp_path, text))
    assert expected in caught.value.message
    assert "hush" not in caught.value.message.replace(str(tmp_path), "")


def test_what_follows_from_another_error_is_not_told(tmp_path: Path) -> None:
    text = "[wifi]\ncountry = 'DE'\nnetworks = [{ssid = 'x', passphrase_file = 'nowhere'}]\n"
    assert len(told(tmp_path, text)) == 1


def test_secrets_are_stars_wherever_settings_are_printed() -> None:
    settings = Settings.model_validate({
        "k3s": {"token_file": SecretStr(HUSH)},
        "wifi": {"country": "DE", "networks": [{"ssid": "x", "passphrase_file": SecretStr(HUSH)}]},
        "registries": {"a": {"user": "u", "password_file": SecretStr(HUSH)}},
        "script_file": SecretStr(f"#!/bin/sh\n{HUSH}\n"),
        "rollout": {"token_file": SecretStr(HUSH)},
    })  # fmt: skip
    for text in (repr(settings), str(settings), settings.model_dump_json()):
        assert HUSH not in text
    secret = {path for path, content in files(settings).items() if HUSH.encode() in content}
    assert secret == {f"edgeimg/{name}" for name in SECRET} - {
        "edgeimg/lte.conf", "edgeimg/proxy.conf", "edgeimg/wifi.conf", "edgeimg/wireguard.conf",
    }  # fmt: skip


def test_missing_secrets_are_asked_for_or_named(tmp_path: Path) -> None:
    text = """[k3s]
role = "agent"
server = "https://10.0.0.1:6443"
[wifi]
country = "DE"
[[wifi.networks]]
ssid = "open"
security = "open"
[[wifi.networks]]
ssid = "Hall 3"
"""
    problems = told(tmp_path, text)
    assert [problem.partition(":")[0] for problem in problems] == ["1", "9"]
    assert all("nobody can be asked here" in problem for problem in problems)

    asked: list[str] = []

    def ask(purpose: str) -> str:
        asked.append(purpose)
        return HUSH

    settings = reading.load(write(tmp_path, text), ask)
    assert asked == ["token of the cluster at https://10.0.0.1:6443", "passphrase of 'Hall 3'"]
    key = hashlib.pbkdf2_hmac("sha1", HUSH.encode(), b"Hall 3", 4096, 32)
    assert f"psk={key.hex()}" in files(settings)["edgeimg/wifi.conf"].decode()
    # What is typed is checked like what is in a file.
    with pytest.raises(SettingsError, match="passphrase_file: expected a passphrase of 8 to 63"):
        reading.load(write(tmp_path, text), lambda _: "short")


def test_a_route_over_a_gateway_outside_of_the_networks_needs_on_link() -> None:
    route = {"to": "10.2.0.0/16", "via": "10.1.0.1", "on_link": True}
    card = {"interface": "e0", "addresses": ["10.0.0.2/24"], "routes": [route]}
    Settings.model_validate({"network": {"lan": card}})
    del route["on_link"]
    with pytest.raises(ValidationError, match=r"10\.1\.0\.1 is in none of the networks"):
        Settings.model_validate({"network": {"lan": card}})


@pytest.mark.parametrize(("length", "fits"), [(7, False), (8, True), (63, True), (65, False)])
def test_a_passphrase_has_8_to_63_characters(length: int, fits: bool) -> None:
    network = {"ssid": "x", "passphrase_file": SecretStr("p" * length)}
    data = {"wifi": {"country": "DE", "networks": [network]}}
    if fits:
        Settings.model_validate(data)
    else:
        with pytest.raises(ValidationError, match="8 to 63"):
            Settings.model_validate(data)


@pytest.mark.parametrize(("size", "fits"), [(127, False), (128, True), (385, True)])
def test_the_length_of_an_rsa_key(size: int, fits: bool) -> None:
    """Bytes of the modulus; a key of 3072 bits has 385 with the leading zero."""
    fields = (b"ssh-rsa", b"\1\0\1", bytes(size))
    blob = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    line = f"ssh-rsa {base64.b64encode(blob).decode()} me@desk"
    assert (ssh_keys.fault(line) is None) is fits


def test_cards_and_vlans_become_files_of_systemd() -> None:
    found = rendered({
        "network": {
            "lan": {"mac": "52:54:00:00:00:01", "dhcp": False},
            "plc": {"vlan": 20, "on": "lan", "addresses": ["10.20.0.2/24"], "mtu": 1400,
                    "gateway": "10.20.0.1", "dns": ["10.20.0.1"], "search": ["plant.lan"],
                    "routes": [{"to": "10.30.0.0/16", "via": "10.20.0.3", "metric": 7}]},
            "up": {"interface": "wl*", "dns": ["9.9.9.9"]},
        },
    })  # fmt: skip
    assert sorted(found) == [
        "network/10-lan.network", "network/10-plc.netdev", "network/10-plc.network",
        "network/20-up.network",
    ]  # fmt: skip
    lan = parsed(found["network/10-lan.network"])
    assert dict(lan["Match"]) == {"MACAddress": "52:54:00:00:00:01", "Kind": "!*"}
    assert lan["Network"]["VLAN"] == "plc"
    assert lan["Link"]["RequiredForOnline"] == "no"
    device = parsed(found["network/10-plc.netdev"])
    assert dict(device["NetDev"]) == {"Name": "plc", "Kind": "vlan"}
    assert device["VLAN"]["Id"] == "20"
    plc = parsed(found["network/10-plc.network"])
    assert dict(plc["Network"]) == {
        "DHCP": "no", "IPv6AcceptRA": "no", "Address": "10.20.0.2/24", "Gateway": "10.20.0.1",
        "DNS": "10.20.0.1", "Domains": "plant.lan",
    }  # fmt: skip
    assert dict(plc["Link"]) == {"MTUBytes": "1400", "RequiredForOnline": "routable"}
    assert dict(plc["Route"]) == {
        "Destination": "10.30.0.0/16", "Gateway": "10.20.0.3", "Metric": "7",
    }  # fmt: skip
    up = parsed(found["network/20-up.network"])
    assert up["DHCPv4"]["UseDNS"] == up["DHCPv6"]["UseDNS"] == "no"
    assert up["Link"]["RequiredForOnline"] == "no"


@pytest.mark.parametrize(
    ("lan", "told"),
    [
        ({"addresses": ["192.168.77.1/24"]}, 'node-ip: "192.168.77.1"'),
        ({"addresses": ["192.168.77.1/24"], "gateway": "192.168.77.9"}, None),
        ({"addresses": ["192.168.77.1/24", "10.0.0.1/8"]}, None),
        ({"addresses": ["192.168.77.1/24"], "dhcp": "ipv6"}, None),
        ({}, None),
    ],
)
def test_without_a_default_route_a_node_has_its_fixed_address(
    lan: dict[str, object], told: str | None
) -> None:
    found = rendered({"network": {"lan": {"interface": "e0", **lan}}, "k3s": {"role": "server"}})
    lines = found["k3s.yaml"].splitlines()
    assert [line for line in lines if line.startswith("node-ip")] == ([told] if told else [])


def test_a_proxys_user_and_password_are_part_of_its_address() -> None:
    found = rendered({
        "proxy": {"https": "http://proxy.lan:3128/", "user": "me",
                  "password_file": SecretStr("a@b%")},
        "k3s": {"role": "agent", "server": "https://[fd00::1]:6443", "token_file": SecretStr("t")},
    })  # fmt: skip
    assert found["proxy.conf"].splitlines() == [
        "HTTP_PROXY=http://me:a%40b%25@proxy.lan:3128",
        "HTTPS_PROXY=http://me:a%40b%25@proxy.lan:3128",
        "NO_PROXY=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,fd00::1",
    ]


def test_every_zone_has_a_rule_that_gateways_take() -> None:
    assert zones.rule("Europe/Berlin") == "CET-1CEST,M3.5.0,M10.5.0/3"
    assert zones.rule("CET-1CEST,M3.5.0,M10.5.0/3") == "CET-1CEST,M3.5.0,M10.5.0/3"
    assert len(zones.names()) > 400
    assert [name for name in zones.names() if not zones.is_rule(zones.rule(name))] == []


def test_the_schema_is_one_and_knows_the_keys_of_the_file() -> None:
    described = settings_schema()
    Draft202012Validator.check_schema(described)
    validator = Draft202012Validator(described)
    good = tomllib.loads("[k3s]\ntoken_file = 'token'\n[registries.'docker.io']\nca_file = 'x'\n")
    assert validator.is_valid(good)
    assert not validator.is_valid({"k3s": {"token": "x"}})
    json.dumps(described)


def test_what_the_documentation_shows_is_good() -> None:
    text = (BASE.parents[1] / "docs/how-to/provisioning.md").read_text()
    (shown,) = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    Draft202012Validator(settings_schema()).validate(tomllib.loads(shown))
    for name in SECRET:
        assert f"| `{name}` (secret) |" in text


def test_a_recipes_consent_is_told_and_named(tmp_path: Path) -> None:
    text = "[k3s.config]\n'kubelet-arg+' = ['max-pods=9', 'manifest-url=http://a']\n"
    (problem,) = told(tmp_path, text)
    assert problem == (
        "2: k3s.config.kubelet-arg+: needs the consent of the image's recipe: "
        '[provision] allow = ["k3s.kubelet-arg.manifest-url"]'
    )
    allowed = ["k3s.kubelet-arg.manifest-url"]
    reading.load(write(tmp_path, text), allowed=allowed)
    (problem,) = told(tmp_path, "[k3s.config]\netcd-arg = ['x=y']\n")
    assert 'allow = ["k3s.etcd-arg.*"]' in problem


def test_the_documentation_lists_what_needs_no_consent() -> None:
    text = (BASE.parents[1] / "docs/how-to/provisioning.md").read_text()
    for name in HARMLESS:
        option, _, flag = name.partition(".")
        assert f"`{option}`" in text or f"`{option}+`" in text
        rows = [line for line in text.splitlines() if line.startswith(f"| `{option}+` |")]
        globs = re.findall("`([^`]+)`", rows[0]) if flag else []
        assert not flag or any(fnmatch.fnmatchcase(flag, one) for one in globs), name
