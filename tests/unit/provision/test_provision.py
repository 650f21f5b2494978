"""Provisioning: what the host writes, the gateway takes over; what is bad, it refuses by name.

The gateway's script runs here on a root of its own, in place of the config partition a directory.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import shutil
import ssl
import subprocess
import threading
import tomllib
import zoneinfo
from pathlib import Path
from typing import Any

import pytest
import yaml
from edgeimg.provision.rendering import NAMES, files
from edgeimg.provision.settings import Settings
from edgeimg.recipe import provisioning
from pydantic import SecretStr, ValidationError

from tests.gateway_root import BASE, BOX, KEY, SECRET, Root


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A certificate of an authority, in PEM."""
    folder = tmp_path_factory.mktemp("ca")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=Plant", "-keyout", folder / "key", "-out", folder / "ca"],
        check=True, capture_output=True,
    )  # fmt: skip
    return (folder / "ca").read_text()


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_what_the_host_writes_the_gateway_becomes(root: Root) -> None:
    root.put(files(BOX))
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-2\n"
    assert root.read("etc/hosts").splitlines()[1] == "127.0.1.1 box-2"
    assert root.read("etc/edgeimg/ssh/authorized_keys").splitlines() == ["# of the image", KEY]
    network = "network/10-lan.network"
    assert root.read(f"run/systemd/{network}").encode() == files(BOX)[f"edgeimg/{network}"]
    assert root.read("etc/rancher/k3s/k3s.env") == "K3S_ROLE=agent\n"
    assert root.read("etc/rancher/k3s/config.yaml") == "AGENT"
    told = root.read("etc/rancher/k3s/config.yaml.d/90-provision.yaml")
    assert told.splitlines() == [
        'debug: "true"', 'node-ip: "192.168.77.2"', "node-label+:", '  - "line=2"',
        '  - "site=hall-7"',
        'server: "https://192.168.77.1:6443"', f'token: "{SECRET}"',
    ]  # fmt: skip


def test_the_host_knows_the_names_that_the_gateway_takes() -> None:
    script = (BASE / "usr/lib/edgeimg/provision").read_text()
    lists = re.findall(r"^(?:plain|secret|directories)='(.*)'$", script, re.MULTILINE)
    assert sorted(" ".join(lists).split()) == sorted(NAMES)


def test_secrets_are_wiped_from_the_partition_and_nobody_else_reads_them(root: Root) -> None:
    root.put(files(BOX))
    before = (root.config / "k3s.yaml").open("rb")
    root.start()
    assert sorted(path.name for path in root.config.iterdir()) == [
        "authorized_keys", "hostname", "network",
    ]  # fmt: skip
    # The bytes are gone, and not only the name of the file.
    assert set(before.read()) == {0}
    before.close()
    for path in (root.kept, root.kept / "k3s.yaml"):
        assert path.stat().st_mode & 0o077 == 0
    assert root.holders(SECRET) == {
        "var/lib/edgeimg/provision/k3s.yaml", "etc/rancher/k3s/config.yaml.d/90-provision.yaml",
    }  # fmt: skip


def test_a_file_of_the_partition_is_read_once(root: Root) -> None:
    """What is checked is what is taken over. A second read of this pipe finds other bytes."""
    pipe = root.config / "hostname"
    os.mkfifo(pipe)

    def write() -> None:
        pipe.write_text("box-9\n")
        with contextlib.suppress(OSError):  # there is no reader any more
            while True:
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
        pipe.write_text("$(reboot)\n")

    threading.Thread(target=write, daemon=True).start()
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-9\n"


def test_a_partition_with_many_files_is_refused(root: Root) -> None:
    root.put({f"edgeimg/network/{number}.network": b"" for number in range(200)})
    assert "more than 200 files" in root.start()


def test_it_stays_what_it_is_without_another_write(root: Root) -> None:
    root.put(files(BOX))
    root.start()
    first = root.kept.stat()
    (root.path / "etc/hostname").unlink()  # /etc forgets
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-2\n"
    assert (root.kept.stat().st_ino, root.kept.stat().st_mtime_ns) == (
        first.st_ino, first.st_mtime_ns,
    )  # fmt: skip


def test_one_file_changes_one_thing_and_an_empty_one_takes_it_back(root: Root) -> None:
    root.put(files(BOX))
    root.start()
    root.put({"edgeimg/hostname": b"box-3\n", "edgeimg/authorized_keys": b""})
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-3\n"
    assert not (root.kept / "authorized_keys").exists()
    assert SECRET in (root.kept / "k3s.yaml").read_text()


def test_files_from_other_systems_are_text_too(root: Root) -> None:
    root.put({"edgeimg/hostname": b"\xef\xbb\xbfbox-9\r\n", "edgeimg/.DS_Store": b"\0\1",
              "edgeimg/README.txt": b"what is this?"})  # fmt: skip
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-9\n"


def test_keys_of_the_image_and_of_the_card_have_a_line_each(root: Root) -> None:
    own = KEY.replace("me@desk", "image@maker")
    (root.path / "etc/edgeimg/ssh/authorized_keys").write_text(own)  # without its line's end
    limited = f'restrict,command="echo \\"a b\\"" {KEY}'
    root.put({"edgeimg/authorized_keys": f"{KEY}\n{limited}".encode()})
    assert root.start() == ""
    keys = root.read("etc/edgeimg/ssh/authorized_keys").splitlines()
    assert keys == [own, KEY, limited]


def test_keys_are_written_as_the_ssh_server_reads_them(root: Root) -> None:
    """Dropbear 2025.89 finds no key behind a tab, two blanks, or a blank in front."""
    kind, data, comment = KEY.split(" ")
    (root.path / "etc/edgeimg/ssh/authorized_keys").write_text(f" {kind}\t{data}\tof the image\n")
    texts = (f"  {kind}  {data}\t a  b ", f"No-Pty\t {kind}\t{data}", f"{kind} {data} {comment}")
    root.put({"edgeimg/authorized_keys": "\n".join(texts).encode()})
    assert root.start() == ""
    bare = f"{kind} {data}"
    assert root.read("etc/edgeimg/ssh/authorized_keys").splitlines() == [
        f"{bare} of the image", f"{bare} a  b", f"No-Pty {bare}", KEY,
    ]  # fmt: skip
    desk = Settings.model_validate({"ssh_keys": list(texts)})
    assert list(desk.ssh_keys) == [f"{bare} a  b", f"No-Pty {bare}", KEY]


@pytest.mark.parametrize(
    "option", ["from=\"10.0.0.0/8\"", "restrict,pty", "environment=\"A=b\",no-pty", "no-user-rc",
               "expiry-time=\"20991231\"", "permitlisten=\"22\"", "x" * 4000],
)  # fmt: skip
def test_a_key_that_the_ssh_server_would_refuse_is_refused(root: Root, option: str) -> None:
    """Its log says "Bad public key options", and nobody can log in."""
    line = f"{KEY} {option}" if option.startswith("x") else f"{option} {KEY}"
    with pytest.raises(ValidationError, match=r"option|bytes"):
        Settings.model_validate({"ssh_keys": [line]})
    root.put({"edgeimg/authorized_keys": line.encode()})
    assert "authorized_keys: line 1: " in root.start()
    root.put({"edgeimg/authorized_keys": f"restrict,no-pty {KEY}".encode()})  # the control
    assert root.start() == ""


def secret(text: str = SECRET) -> SecretStr:
    return SecretStr(text)


def whole(**settings: Any) -> dict[str, bytes]:
    return files(Settings.model_validate(settings))


def test_the_clock_has_its_servers_and_its_zone(root: Root) -> None:
    root.put(whole(ntp=["10.0.0.1", "ntp.plant.lan"], timezone="Europe/Berlin"))
    assert root.start() == ""
    timesyncd = root.read("run/systemd/timesyncd.conf.d/90-provision.conf")
    assert timesyncd == "[Time]\nNTP=10.0.0.1 ntp.plant.lan\n"
    chrony = root.read("run/edgeimg/provisioned/chrony/provision.sources")
    assert chrony == "server 10.0.0.1 iburst\nserver ntp.plant.lan iburst\n"
    # Two readers of zones: Python's, and the C library's.
    with (root.path / "etc/localtime").open("rb") as file:
        zone = zoneinfo.ZoneInfo.from_file(file)
    known = zoneinfo.ZoneInfo("Europe/Berlin")
    for month in range(1, 13):
        moment = datetime.datetime(2031, month, 28, 12, tzinfo=datetime.UTC)
        assert moment.astimezone(zone).isoformat() == moment.astimezone(known).isoformat()
        assert moment.astimezone(zone).tzname() == moment.astimezone(known).tzname()
    result = subprocess.run(
        ["date", "-d", "@1940000000", "+%F %T %Z"], check=True, capture_output=True, text=True,
        env={**os.environ, "TZ": f":{root.path}/etc/localtime"},
    )  # fmt: skip
    assert result.stdout == "2031-06-23 18:53:20 CEST\n"


def test_proxies_spare_the_cluster(root: Root) -> None:
    server = {"server": "https://10.1.0.1:6443", "token_file": secret()}
    root.put(whole(
        proxy={"http": "http://proxy.lan:3128", "user": "me", "password_file": secret("hush&hush")},
        k3s={"role": "server", "config": {"cluster-cidr": "10.52.0.0/16,fd00:52::/56"}},
    ))  # fmt: skip
    assert root.start() == ""
    environment = dict(
        line.split("=", 1) for line in root.read("run/edgeimg/proxy.env").splitlines()
    )
    assert environment["HTTP_PROXY"] == environment["HTTPS_PROXY"]
    assert environment["HTTP_PROXY"] == "http://me:hush%26hush@proxy.lan:3128"
    assert environment["NO_PROXY"].split(",") == [
        "localhost", "127.0.0.0/8", "::1", ".svc", ".cluster.local",
        "10.52.0.0/16", "fd00:52::/56", "10.43.0.0/16",
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16",
    ]  # fmt: skip
    assert (root.path / "run/edgeimg/proxy.env").stat().st_mode & 0o077 == 0
    assert not (root.config / "proxy.conf").exists()
    root.put(whole(proxy={"http": "http://proxy.lan:3128", "no_proxy": []}, k3s=server))
    assert root.start() == ""

    assert root.read("run/edgeimg/proxy.env").endswith(",10.42.0.0/16,10.43.0.0/16,10.1.0.1\n")


def test_the_image_says_where_the_cluster_is_when_nobody_else_does(root: Root) -> None:
    options = {"cluster-cidr": "10.99.0.0/16", "write-kubeconfig-mode": "0600"}
    (root.path / "etc/rancher/k3s/config.yaml").write_text(json.dumps(options, indent=2))
    root.put(whole(proxy={"http": "http://proxy.lan:3128"}))
    assert root.start() == ""
    assert ",10.99.0.0/16,10.43.0.0/16," in root.read("run/edgeimg/proxy.env")


def test_authorities_join_those_of_the_image(root: Root, authority: str) -> None:
    bundle = "etc/ssl/certs/ca-certificates.crt"
    for _ in range(2):  # a second time adds nothing
        root.put({"edgeimg/ca/01.crt": authority.rstrip().encode(), "edgeimg/ca/02.crt": b""})
        assert root.start() == ""
        text = root.read(bundle)
        assert text.startswith("CERTIFICATES OF THE IMAGE\n")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(cadata=text)
        assert len(context.get_ca_certs()) == 1
    assert (root.path / bundle).stat().st_mode & 0o777 == 0o644
    (root.config / "ca/01.crt").unlink()
    assert root.start() == ""
    assert not (root.kept / "ca/01.crt").exists()


HARD = """a "quoted" \\ 'word' ü$`"""


def test_registries_are_told_to_k3s_and_to_containerd(root: Root, authority: str) -> None:
    (root.path / "ca.pem").write_text(authority)
    settings = Settings.model_validate({
        "registries": {
            "docker.io": {"endpoints": ["https://mirror.lan:5000", "http://old.lan/v2/docker"],
                          "user": "me", "password_file": secret(HARD), "insecure": True},
            "*": {"endpoints": ["https://all.lan"]},
            "registry.lan:5000": {"ca_file": "ca.pem"},
        },
    }, context={"folder": root.path})  # fmt: skip
    for _ in range(2):
        root.put(files(settings))
        assert root.start() == ""
        containerd = tomllib.loads(root.read("etc/containerd/config.toml"))
    # What was in it is in it still.
    assert (containerd["version"], containerd["grpc"]["address"]) == (3, "x")
    images = containerd["plugins"]["io.containerd.cri.v1.images"]
    access = {"username": "me", "password": HARD}
    assert images["registry"]["configs"] == {
        "mirror.lan:5000": {"auth": access}, "old.lan": {"auth": access},
    }  # fmt: skip
    pull = ["pull", "resolve"]
    certificate = "/etc/containerd/provisioned-ca/03.crt"
    hosts = {
        name: tomllib.loads(root.read(f"etc/containerd/certs.d/{name}/hosts.toml"))["host"]
        for name in ("docker.io", "_default", "registry.lan:5000")
    }
    assert hosts == {
        "docker.io": {
            "https://mirror.lan:5000": {"capabilities": pull, "skip_verify": True},
            "http://old.lan/v2/docker": {
                "capabilities": pull, "skip_verify": True, "override_path": True,
            },
        },
        "_default": {"https://all.lan": {"capabilities": pull}},
        "registry.lan:5000": {
            "https://registry.lan:5000": {"capabilities": pull, "ca": certificate},
        },
    }  # fmt: skip
    assert root.read(certificate.lstrip("/")).strip() == authority.strip()
    unchecked = {"insecure_skip_verify": True}
    assert yaml.safe_load(root.read("etc/rancher/k3s/registries.yaml")) == {
        "mirrors": {
            "docker.io": {"endpoint": ["https://mirror.lan:5000", "http://old.lan/v2/docker"]},
            "*": {"endpoint": ["https://all.lan"]},
            "registry.lan:5000": {"endpoint": []},
        },
        "configs": {
            "mirror.lan:5000": {"auth": access, "tls": unchecked},
            "old.lan": {"auth": access, "tls": unchecked},
            "all.lan": {},
            "registry.lan:5000": {"tls": {"ca_file": certificate}},
        },
    }
    assert not (root.config / "registries.conf").exists()
    for path in ("etc/containerd/config.toml", "etc/rancher/k3s/registries.yaml"):
        assert (root.path / path).stat().st_mode & 0o077 == 0


def test_services_are_fed(root: Root) -> None:
    root.put(whole(
        wifi={"country": "DE", "networks": [
            {"ssid": "IEEE", "passphrase_file": secret("password"), "security": "wpa2/wpa3"},
            {"ssid": "guests", "security": "open", "priority": 3},
        ]},
        lte={"apn": "internet", "user": "me", "password_file": secret("geheim"),
             "pin_file": secret("1234")},
    ))  # fmt: skip
    assert root.start() == ""
    services = root.path / "run/edgeimg/provisioned"
    assert (services / "lte/connect").read_text() == (
        "apn=internet,user=me,password=geheim,pin=1234\n"
    )
    # The key that IEEE 802.11i gives as an example (H.4.2).
    assert {
        "\tpsk=f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e",
        f"\tsae_password={b'password'.hex()}",
    } <= set((services / "wifi/networks.conf").read_text().splitlines())
    for file in ("lte/connect", "wifi/networks.conf"):
        assert (services / file).stat().st_mode & 0o077 == 0
    assert list(root.config.iterdir()) == []


def test_a_script_is_taken_where_the_image_allows_one(root: Root) -> None:
    root.put(whole(script_file=secret(f"#!/bin/sh\necho {SECRET}\n")))
    assert root.start() == ""
    assert root.holders(SECRET) == {"var/lib/edgeimg/provision/script"}
    (root.path / "usr/share/edgeimg/card").write_bytes(provisioning.table([]))
    root.put(whole(hostname="box-3", script_file=secret("#!/bin/sh\n")))
    assert "the image does not allow a script" in root.start()


def test_wifi_is_refused_where_no_service_would_join_it(root: Root) -> None:
    shutil.rmtree(root.path / "usr/lib/edgeimg/services")
    root.put({"edgeimg/lte.conf": b"apn=a\n"})
    assert "the image has no service 'lte'" in root.start()


def test_the_agent_gets_its_settings_and_nobody_else(root: Root) -> None:
    token = "r0llout~token.of+box/2="
    rollout = {
        "token_file": SecretStr(token), "server": "https://[fd00::1]:8443/up", "site": "hall-7"
    }  # fmt: skip
    root.put(whole(rollout=rollout))
    assert root.start() == ""
    assert root.read("run/edgeimg/rollout.env") == (
        f"SERVER=https://[fd00::1]:8443/up\nSITE=hall-7\nTOKEN={token}\n"
    )
    assert (root.path / "run/edgeimg/rollout.env").stat().st_mode & 0o777 == 0o600
    assert root.holders(token) == {
        "var/lib/edgeimg/provision/rollout.conf", "run/edgeimg/rollout.env",
    }  # fmt: skip


def test_a_token_is_refused_where_no_agent_would_read_it(root: Root) -> None:
    (root.path / "usr/lib/edgeimg/rollout").unlink()
    root.put({"edgeimg/rollout.conf": b"TOKEN=a\n"})
    assert "the image has no roll-out agent" in root.start()


def test_updates_come_from_where_the_settings_say(root: Root) -> None:
    url = "https://[fd00::1]:8443/gateway"
    root.put(whole(update={"url": url}))
    assert root.start() == ""
    assert root.read("run/edgeimg/update.env") == f"URL={url}\n"
    (root.path / "usr/lib/edgeimg/update.conf").unlink()
    root.put({"edgeimg/update.conf": b"URL=https://a/b\n"})
    assert "the image does not update itself" in root.start()


@pytest.mark.parametrize("left", ["new", "partial"])
def test_a_power_cut_leaves_the_old_set_or_the_new(root: Root, left: str) -> None:
    root.put(files(BOX))
    root.start()
    half = root.kept.with_name(f"provision.{left}")
    half.mkdir()
    (half / "hostname").write_text("box-8\n")
    (root.config / "hostname").unlink()
    assert root.start() == ""
    assert root.read("etc/hostname") == ("box-8\n" if left == "new" else "box-2\n")


def test_a_power_cut_while_secrets_are_wiped_ends_with_them_wiped(root: Root) -> None:
    root.put(files(BOX))
    root.start()
    root.put({name: content for name, content in files(BOX).items() if "k3s" in name})
    half = root.config / "k3s.yaml"
    half.write_bytes(b"\0" * 20 + half.read_bytes()[20:])
    (root.kept.parent / "provision.wiping").touch()
    root.put({"edgeimg/lte.conf": f"apn=a,password={SECRET}\n".encode()})
    assert root.start() == ""
    assert sorted(path.name for path in root.config.iterdir()) == [
        "authorized_keys", "hostname", "network",
    ]  # fmt: skip
    assert SECRET in (root.kept / "k3s.yaml").read_text()
    assert SECRET in (root.kept / "lte.conf").read_text()

    # What was wiped is over: zeros that come now are a bad file, as ever.
    root.put({"edgeimg/k3s.yaml": b"\0" * 20})
    assert "control characters" in root.start()


@pytest.mark.parametrize(
    ("text", "status", "again"),
    [("printf done", 0, "has run before"), ("printf done; exit 3", 1, "it runs again")],
)
def test_a_script_runs_until_it_succeeds(root: Root, text: str, status: int, again: str) -> None:
    root.put(whole(script_file=secret(f"#!/bin/sh\n{text}\n")))
    assert root.start() == ""
    run = [root.path / "usr/lib/edgeimg/run-script", root.path]
    assert subprocess.run(run, capture_output=True, check=False).returncode == status
    second = subprocess.run(run, capture_output=True, text=True, check=False)
    assert again in second.stdout


BAD = {
    "hostname": [
        (b"Box\n", "lower-case"),
        (b"box.example.org\n", "lower-case"),
        (b"one\ntwo\n", "lower-case"),
        (b"x" * 64, "at most 63"),
        (b"-box\n", "lower-case"),
        (b"box\0\n", "control characters"),
        (b"\xff\xfeb\0o\0x\0", "control characters"),
        (b"\n" * 70000, "more than 65536 bytes"),
    ],
    "authorized_keys": [
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "line 1: expected a public key"),
        (KEY.encode() + b"\nAAAAC3NzaC1lZDI1NTE5\n", "line 2: expected a public key"),
        (b"\x1f\x8b\x08\0", "control characters"),
        (b"any junk line " + KEY.encode(), "line 1: expected a public key"),
    ],
    "k3s.yaml": [
        (b"rule: agent\n", "line 1: unknown key 'rule'"),
        (b"role: master\n", "expected server or agent"),
        (b"role+: agent\n", "line 1: expected 'role' without '+'"),
        (b"token: \"a\tb\"\n", "control characters (a tab)"),
        (b"node-name: a\xff\n", "is no UTF-8"),
        (b"server: https://10.0.0.1:65536\n", "expected an address such as https://"),
        (b"role: agent\ntoken: x\n", "needs 'server' and 'token'"),
        (b"role: agent\nserver: 10.0.0.1\ntoken: x\n", "expected an address such as https://"),
        (b"token: x\ntoken: y\n", "line 2: 'token' is there twice"),
        (b"token: a b\n", "in double quotes"),
        (b"token: *secret\n", "in double quotes"),
        (b'token: "a\n', "in double quotes"),
        (b"token:\n", "'token' has no value"),
        (b"token:x\n", "line 1: expected 'key: value'"),
        (b"  token: x\n", "line 1: expected 'key: value'"),
        (b"node-label:\n- a=b\n- {c: d}\n", "line 3: put the value of 'node-label'"),
        (b"- a\n", "without its key"),
        (b"{role: agent}\n", "line 1"),
        (b"<html>\n", "line 1"),
        (b"role: agent\nserver: https://a\ntoken: x\ntls-san: b\n", "is for servers"),
    ],
    "network/10-lan.network": [
        (b"Address=10.0.0.1/24\n", "expected a section"),
        (b"[Netwrok]\nAddress=10.0.0.1/24\n", "line 1: unknown section [Netwrok]"),
        (b"[Network]\nAddress=10.0.0.1/24\n", "[Match]"),
        (b"[Match]\nName=en*\n[Network]\nAddress=10.0.0\xc2\xb71\n", "expected an address"),
        (b"[Match]\nName=en*\n[Network]\nDHCP yes\n", "line 4: expected 'Key=value'"),
        (b"[Match]\nName=e0\n[Network]\nAddress=1.2.3.4/99\n", "line 4: expected an address"),
        (b"[Match]\nName=e0\n[Network]\nGateway=999.9.1.1\n", "line 4: expected an address"),
        (b"[Match]\nName=e0\n[Network]\nAddress=fd00::1::2/64\n", "line 4: expected an address"),
    ],
    "network/lan": [(b"[Match]\n", "expected *.network or *.netdev")],
    "network/20-v.netdev": [
        (b"[NetDev]\nName=v\n", "expected Name= and Kind="),
        (b"[NetDev]\nName=v\nKind=vlan\n[VLAN]\nId=4095\n", "line 5: expected the number"),
        (b"[NetDev]\nName=v\nKind=vlan\n[VLAN]\nId=0x1\n", "line 5: expected the number"),
    ],
    "ntp": [
        (b"10.0.0.1 10.0.0.2\n", "line 1: expected one server a line"),
        (b"$(reboot)\n", "line 1: expected one server a line"),
    ],
    "timezone": [
        (b"Europe/Berlin\n", "expected one rule"),
        (b"CET-1\nUTC0\n", "expected one rule"),
        (b"CET-1CEST\n", "expected one rule"),
        (b"AAA" + b"9" * 95 + b"\n", "expected one rule"),
        (b"CET-1CEST,M13.5.0,M10.5.0\n", "expected one rule"),
        (b"# nothing\n", "expected one rule"),
    ],
    "wifi.conf": [
        (b"country=de\n", "line 1: expected country=DE"),
        (b"ctrl_interface=/run/x\n", "line 1: expected country=DE"),
        (b"network={\n\tpsk=hush\n}\n", "line 2: put the value of psk in double quotes"),
        (b'network={\n\tssid="a"\n\tpsk="a "b #c"\n}\n', "line 3: put the value of psk"),
        (b"network={\n\tssid=\"a\"\n\teap=TLS\n}\n", "line 3: expected one of ssid"),
        (b"network={\n\tkey_mgmt=NONE\n}\n", "line 3: the network above has no ssid"),
        (b"network={\n\tssid=\"a\"\n", "a line } is missing"),
        (b"country=DE\n", "expected a network"),
    ],
    "lte.conf": [
        (b"internet\n", "expected one line such as apn="),
        (b"apn=a\napn=b\n", "expected one line such as apn="),
        (b"apn=a,device=/dev/sda\n", "expected one line such as apn="),
    ],
    "proxy.conf": [
        (b"http_proxy=http://a\n", "line 1: expected HTTP_PROXY"),
        (b"HTTP_PROXY=proxy.lan:3128\n", "line 1: expected HTTP_PROXY"),
        (b"HTTP_PROXY=http://a\nLD_PRELOAD=/x\n", "line 2: expected HTTP_PROXY"),
        (b"NO_PROXY=a b\n", "line 1: expected HTTP_PROXY"),
        (b"NO_PROXY=a\\b\n", "line 1: expected HTTP_PROXY"),
    ],
    "registries.conf": [
        (b"endpoint=https://a\n", "line 1: expected a registry such as [docker.io] first"),
        (b"[do cker]\n", "line 1: expected a registry"),
        (b"[a]\n[a]\n", "line 2: [a] is there twice"),
        (b"[a]\nendpoint=ftp://x\n", "line 2: expected endpoint="),
        (b"[a]\nendpoint=https://x/a\\b\n", "line 2: expected endpoint="),
        (b"[a]\nuser=x\n", "needs both user= and password="),
        (b"[a]\nendpoint=https://m:abc\n", "line 2: expected endpoint="),
        (b"[a]\nendpoint=https://m:99999\n", "line 2: expected a port"),
        (b"[a]\nuser=x\npassword=\xff\n", "is no UTF-8"),
        (b"[a]\nuser=x\npassword=a\tb\n", "control characters (a tab)"),
        (b"[*]\ninsecure=yes\n", "needs an endpoint="),
        (b"[a]\nca=../x.crt\n", "line 2: expected endpoint="),
        (b"[a]\nca=09.crt\n", "there is no registry-ca/09.crt"),
        (b"# none\n", "expected a registry"),
    ],
    "rollout.conf": [
        (b"SERVER=https://a\n", "expected a line TOKEN="),
        (b"TOKEN=a b\n", "line 1: expected SERVER="),
        (b"TOKEN=a\nSERVER=ftp://a\n", "line 2: expected SERVER="),
        (b"TOKEN=a\nSERVER=https://a\"\n", "line 2: expected SERVER="),
        (b"TOKEN=a\nSITE=$(reboot)\n", "line 2: expected SERVER="),
        (b"TOKEN=a\nCERTIFICATE=/x\n", "line 2: expected SERVER="),
        (b"TOKEN=a\\b\n", "line 1: expected SERVER="),
        (b"TOKEN=a\nTOKEN=b\n", "line 2: expected SERVER="),
        (b"TOKEN=" + b"a" * 129 + b"\n", "line 1: expected SERVER="),
        (b"TOKEN=a\nSITE=" + b"a" * 65 + b"\n", "line 2: expected SERVER="),
        (b"TOKEN=a\nSERVER=https://me:x@a\n", "line 2: expected SERVER="),
        (b"TOKEN=a\nSERVER=https:///\n", "line 2: expected SERVER="),
    ],
    "update.conf": [
        (b"URL=ftp://a\n", "expected one line such as URL="),
        (b"URL=https://a\nURL=https://b\n", "expected one line"),
        (b"URL=https://a/$(reboot)\n", "expected one line"),
        (b"URL=https://a/b c\n", "expected one line"),
        (b"URL=https://me:x@a\n", "expected one line"),
        (b"KEY=/x\n", "expected one line"),
        (b"URL=https://a/" + b"b" * 503 + b"\n", "expected one line"),
        (b"# none\n", "expected one line"),
    ],
    "script": [
        (b"reboot\n", "'#!/bin/sh' first"),
        (b"#!/bin/sh\nif true\n", "Syntax error"),
    ],
    "ca/plant.crt": [
        (b"-----BEGIN RSA PRIVATE KEY-----\nAAAA\n", "line 1: a private key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n", "the last certificate has no end"),
        (b"-----BEGIN CERTIFICATE-----\n<html>\n-----END CERTIFICATE-----\n", "line 2: expected"),
        (b"plant\n", "expected certificates"),
        (b"0\x82\x04\x00", "control characters"),
    ],
    "ca/plant.pem": [(b"x\n", "expected *.crt")],
    "hostnames": [(b"box\n", "unknown, expected one of hostname")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [(name, content, told) for name, cases in BAD.items() for content, told in cases],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_file_changes_nothing_and_is_named(
    root: Root, name: str, content: bytes, told: str
) -> None:
    root.put(files(BOX))
    root.start()
    root.put({"edgeimg/hostname": b"box-4\n", f"edgeimg/{name}": content})
    problem = root.start()
    assert problem.startswith(f"{name}: ")
    assert told in problem
    assert "restart" in problem.splitlines()[-1]
    assert root.read("etc/hostname") == "box-2\n"
    assert SECRET in (root.kept / "k3s.yaml").read_text()
    # Put right, it is taken.
    (root.config / name).unlink()
    root.put({"edgeimg/hostname": b"box-4\n"})
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-4\n"


def test_a_bad_secret_is_not_repeated(root: Root) -> None:
    root.put({"edgeimg/k3s.yaml": b"token: hush hush\n"})
    assert "hush" not in root.start()


CONSENTED = [
    ("kubelet-arg", "manifest-url=http://10.0.0.1/pod.yaml"),
    ("kubelet-arg", "config=/var/x"),
    ("kubelet-arg", "v=9"),
    ("kubelet-arg", "max_pods=9"),
    ("kubelet-arg", "--max-pods=9"),
    ("kubelet-arg", "max-pods=9,manifest-url=http://10.0.0.1/pod.yaml"),
    ("kubelet-arg", "eviction-hard=memory.available<1Mi,anonymous-auth=true"),
    ("kubelet-arg", "feature-gates=X=true"),
    ("kube-proxy-arg", "config=/x"),
    ("kube-apiserver-arg", "authorization-mode=AlwaysAllow"),
    ("kube-apiserver-arg", "anonymous-auth=true"),
    ("resolv-conf", "/var/lib/rancher/k3s/server/token"),
    ("secrets-encryption", "false"),
    ("etcd-arg", "listen-client-urls=http://0.0.0.0:2379"),
    ("write-kubeconfig-mode", "0644"),
]


def named(option: str, value: str) -> str:
    return f"{option}.{value.partition('=')[0]}" if option.endswith("-arg") else option


def consents(root: Root, *names: str) -> tuple[str, ...]:
    """What the gateway's image allows."""
    (root.path / "usr/share/edgeimg/card").write_bytes(provisioning.table(names))
    return names


def judged(option: str, value: str, allowed: tuple[str, ...]) -> bool:
    """Whether the desk takes an option of K3s."""
    config = {"k3s": {"config": {f"{option}+": [value]}}}
    try:
        Settings.model_validate(config, context={"allowed": allowed})
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(("option", "value"), CONSENTED)
def test_a_card_does_not_reach_into_other_programs(root: Root, option: str, value: str) -> None:
    text = f'{option}+:\n  - "{value}"\n'.encode()
    root.put({"edgeimg/k3s.yaml": text})
    assert re.search("consent|expected", root.start())
    assert not (root.path / "etc/rancher/k3s/config.yaml.d").exists()
    assert not judged(option, value, ())
    # With the recipe's consent both take it; with another one neither does.
    consents(root, "k3s.kubelet-arg.cert-dir", "script")
    assert root.start() != ""
    assert not judged(option, value, ("k3s.kubelet-arg.cert-dir", "script"))
    group = f"k3s.{option}.*" if option.endswith("-arg") else "k3s.*"
    name = named(option, value)
    if re.fullmatch(r"[a-z.-]+", name) and not name.partition(".")[2].startswith("-"):
        for allowed in (f"k3s.{name}", group, "k3s.*"):
            root.put({"edgeimg/k3s.yaml": text})
            consents(root, allowed)
            assert root.start() == ""
            assert judged(option, value, (allowed,))
    else:
        consents(root, "k3s.*")
        root.put({"edgeimg/k3s.yaml": text})
        assert "NAME=VALUE" in root.start()
        assert not judged(option, value, ("k3s.*",))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("kubelet-arg", "max-pods=16"),
        ("kubelet-arg", "eviction-hard=memory.available<100Mi,nodefs.available<10%"),
        ("kubelet-arg", "system-reserved=cpu=100m,memory=200Mi"),
        ("kube-apiserver-arg", "event-ttl=1h30m"),
        ("kube-proxy-arg", "proxy-mode=nftables"),
        ("tls-san", "gateway.plant.lan"),
        ("disable", "metrics-server"),
    ],
)
def test_harmless_options_need_no_consent(root: Root, option: str, value: str) -> None:
    assert judged(option, value, ())
    root.put(whole(k3s={"config": {f"{option}+": [value]}}))
    assert root.start() == ""
    assert value in root.read("etc/rancher/k3s/config.yaml.d/90-provision.yaml")


def test_what_the_image_says_to_other_programs_is_added_to_and_not_replaced(root: Root) -> None:
    root.put({"edgeimg/k3s.yaml": b'kubelet-arg:\n  - "max-pods=9"\n'})
    assert "line 1: expected 'kubelet-arg+', which adds" in root.start()
    with pytest.raises(ValidationError, match="which adds"):
        whole(k3s={"config": {"kubelet-arg": ["max-pods=9"]}})
    consents(root, "k3s.kubelet-arg.*")
    assert root.start() == ""


def test_without_its_list_a_gateway_takes_no_options(root: Root) -> None:
    (root.path / "usr/share/edgeimg/card").unlink()
    root.put({"edgeimg/k3s.yaml": b"node-name: a\n"})
    assert "unknown key 'node-name'" in root.start()


def test_a_comment_ends_for_everybody_where_it_ends_for_the_check(root: Root) -> None:
    # NEL and the like end a line of YAML 1.1: what is behind them would be an option.
    for end in ("\x85", "\u2028", "\u2029"):
        text = f'node-name: a\n# x{end}kubelet-arg+: ["manifest-url=http://a"]\n'
        root.put({"edgeimg/k3s.yaml": text.encode()})
        assert "control characters" in root.start()
    # For systemd, YAML and others, a carriage return ends a line.
    for name, text in {
        "proxy.conf": "HTTP_PROXY=http://a:1\rLD_PRELOAD=/var/x.so\n",
        "network/10-a.network": "[Match]\nName=e*\n# x\r[Link]\rUnmanaged=yes\n",
        "wifi.conf": '# x\rctrl_interface=/run/x\nnetwork={\nssid="a"\n}\n',
        "registries.conf": "[docker.io]\nuser=a\npassword=a\rb\n",
        "ntp": "# x\rallow all\nntp.example.org\n",
        "k3s.yaml": "token: 'a\rb'\n",
    }.items():
        root.put({"edgeimg/k3s.yaml": b"", f"edgeimg/{name}": text.encode()})
        assert "a carriage return in a line" in root.start(), name
        root.put({f"edgeimg/{name}": text.replace("\r", "\r\n").encode()})
        assert "carriage" not in root.start(), name
        (root.config / name).unlink()
    root.put({"edgeimg/k3s.yaml": "# ü\r\nnode-name: a\r\n".encode()})
    assert root.start() == ""
    assert root.read("etc/rancher/k3s/config.yaml.d/90-provision.yaml") == "node-name: a\n"
