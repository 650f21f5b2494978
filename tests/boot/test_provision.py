"""One gateway, provisioned with everything, then with one bad file after the other.

The guest is restarted twice; for the other bad files the unit that reads them is. With
EDGEIMG_TEST_PROVISION=restarts the gateway is restarted for each of them.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from edgeimg.provision import partition, reading
from edgeimg.provision.rendering import files
from edgeimg.vm.argv import GuestOptions, Lan
from edgeimg.vm.disk import raw_image

from tests.gateway import CPUS, Gateway, booted, project

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh: apt install openssh-client"),
]
EDGEIMG = shutil.which("edgeimg") or "edgeimg"
EVERY_RESTART = os.environ.get("EDGEIMG_TEST_PROVISION") == "restarts"
PATIENCE = 900
CONFIG = "/dev/disk/by-partlabel/config"
MAC = "52:54:00:77:00:07"
RECIPE = 'include = ["gateway.toml"]\n\n[provision]\nscript = true\n'
TOKEN = "tok-Ahxee6ie-never-seen-again"
PASSWORD = "word-ooH4aiph-never-seen-again"
SETTINGS = f"""\
hostname = "box-7"
timezone = "Asia/Kathmandu"
ntp = ["192.0.2.1", "ntp.plant.example"]
ca_files = ["ca.pem"]
script_file = "setup.sh"

[network.lan]
mac = "{MAC}"
addresses = ["192.168.77.7/24"]
mtu = 1400

[network.plc]
vlan = 20
on = "lan"
addresses = ["10.20.0.7/24"]
required = false

[proxy]
http = "http://proxy.plant.example:3128"
user = "gw"
password_file = "password.txt"

[registries."registry.plant.example"]
endpoints = ["http://10.0.2.2:PORT"]
user = "puller"
password_file = "password.txt"

[k3s]
token_file = "token.txt"
labels = {{ site = "hall-7" }}
"""


class Mirror:
    """A registry that has nothing, and remembers as whom it was asked."""

    def __init__(self) -> None:
        self.asked: set[str] = set()
        mirror = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                said = self.headers.get("Authorization", "")
                mirror.asked.add(said)
                self.send_response(404 if said else 401)
                self.send_header("WWW-Authenticate", 'Basic realm="plant"')
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_HEAD = do_GET  # noqa: N815

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def mirror() -> Iterator[Mirror]:
    made = Mirror()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture(scope="module")
def gateway(mirror: Mirror, cache, toolbox, tmp_path_factory) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("provisioned")
    key = project(root)
    (root / "recipes/scripted.toml").write_text(RECIPE)
    shutil.copy(root / "recipes/gateway.lock.toml", root / "recipes/scripted.lock.toml")
    done = subprocess.run(
        [EDGEIMG, "build", "-r", "recipes/scripted.toml", "-a", "amd64", "--k3s", "standin",
         "--json"],
        cwd=root, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    (image,) = json.loads(done.stdout)["images"]
    raw = root / "box-7.raw"
    subprocess.run(
        ["cp", "--sparse=always", raw_image(root / image["image"], cache), raw], check=True
    )

    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=Plant", "-keyout", root / "ca.key", "-out", root / "ca.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (root / "token.txt").write_text(TOKEN)
    (root / "password.txt").write_text(PASSWORD)
    (root / "setup.sh").write_text("#!/bin/sh\necho ran as $(id -un) on $(hostname)\n")
    port = str(mirror.server.server_port)
    (root / "box-7.toml").write_text(SETTINGS.replace("PORT", port))
    partition.write(raw, files(reading.load(root / "box-7.toml")), toolbox=toolbox("pack"))

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        lan = Lan(port=free.getsockname()[1], mac=MAC)
    console = tmp_path_factory.mktemp("guest") / "console.log"
    with booted(
        raw, key, toolbox=toolbox("qemu"), console=console, options=GuestOptions(cpus=CPUS, lan=lan)
    ) as running:
        yield running


def test_it_is_the_one_that_it_was_told_to_be(gateway: Gateway, mirror: Mirror) -> None:
    told = gateway.attempt("cat /run/edgeimg/provision.problem; hostname")
    assert told.stdout == "box-7\n"
    assert gateway.run("date +%Z%z") == "+0545+0545\n"
    times = gateway.run("cat /run/systemd/timesyncd.conf.d/*.conf")
    assert times == "[Time]\nNTP=192.0.2.1 ntp.plant.example\n"
    gateway.until("journalctl -q -u systemd-timesyncd | grep -q '192.0.2.1'", 120)

    gateway.until("networkctl list plc --no-legend | grep -q configured", 120)
    addresses = gateway.run("ip -o -4 addr show scope global")
    assert "192.168.77.7/24" in addresses
    assert "10.20.0.7/24" in addresses
    assert "VID: 20" in gateway.run("cat /proc/net/vlan/plc")
    card = gateway.run(f"grep -l {MAC} /sys/class/net/*/address | grep -v plc").split("/")[4]
    assert gateway.run(f"cat /sys/class/net/{card}/mtu") == "1400\n"

    bundle = "/etc/ssl/certs/ca-certificates.crt"
    certificates = int(gateway.run(f"grep -c 'BEGIN CERTIFICATE' {bundle}"))
    assert certificates > 100
    assert "ran as root on box-7" in gateway.until(
        "journalctl -q -u edgeimg-script | grep 'ran as'", 300
    )
    assert "status 0" in gateway.run("cat /var/lib/edgeimg/script.log")

    for program in ("k3s", "containerd"):
        gateway.until(f"systemctl -q is-active {program}.service", PATIENCE)
        environment = gateway.run(
            f"tr '\\0' '\\n' < /proc/$(systemctl show -P MainPID {program}.service)/environ"
        )
        variables = dict(line.split("=", 1) for line in environment.splitlines() if "=" in line)
        proxy = f"http://gw:{PASSWORD}@proxy.plant.example:3128"
        assert variables["HTTPS_PROXY"] == variables["HTTP_PROXY"] == proxy
        assert "10.42.0.0/16" in variables["NO_PROXY"].split(",")


def test_images_are_pulled_from_the_mirror_by_name_and_password(
    gateway: Gateway, mirror: Mirror
) -> None:
    kubectl = "KUBECONFIG=/etc/rancher/k3s/k3s.yaml KUBECACHEDIR=/run/edgeimg/kubectl kubectl"
    labelled = f"{kubectl} get nodes -l site=hall-7 -o name"
    gateway.until(f'[ "$({labelled})" = node/box-7 ]', PATIENCE)
    gateway.until(
        f"{kubectl} run pulled --image=registry.plant.example/thing:1 --restart=Never", PATIENCE
    )
    word = base64.b64encode(f"puller:{PASSWORD}".encode()).decode()
    deadline = time.monotonic() + PATIENCE
    while f"Basic {word}" not in mirror.asked:
        assert time.monotonic() < deadline, mirror.asked
        gateway.guest.alive()
        time.sleep(1)
    gateway.until(f"{kubectl} delete pod pulled --now --wait=false --ignore-not-found", PATIENCE)
    gateway.without_k3s()


def test_no_secret_is_on_the_config_partition_any_more(gateway: Gateway) -> None:
    for secret in (TOKEN, PASSWORD):
        found = gateway.attempt(f"grep -qF {secret} $(readlink -f {CONFIG})")
        assert found.returncode == 1, found.stderr
    for path in ("/var/lib/edgeimg/provision", "/run/edgeimg/proxy.env"):
        assert gateway.run(f"stat -c %a {path}").strip() in ("700", "600")
    assert gateway.attempt(f"journalctl -q | grep -cF {TOKEN}").stdout == "0\n"


BAD = [
    ("hostname", b"Not a name\n", "hostname: expected one name"),
    ("hostname", b"\0\0\0\0", "hostname: holds control characters"),
    ("hostname", b"x" * 70000, "hostname: more than 65536 bytes"),
    ("authorized_keys", b"-----BEGIN OPENSSH PRIVATE KEY-----\n", "line 1: expected a public key"),
    ("authorized_keys", b"ssh-ed25519 AAAAC3NzaC1lZDI1N me\n", "line 1: the key is cut off"),
    ("k3s.yaml", b"role: master\n", "k3s.yaml: role: expected server or agent"),
    ("k3s.yaml", b"role: agent\n", "an agent needs 'server' and 'token'"),
    ("k3s.yaml", b"token: [a, b\n", "line 1: put the value of 'token' in double quotes"),
    ("k3s.yaml", b"tokn: abc\n", "line 1: unknown key 'tokn'"),
    (
        "k3s.yaml",
        b'kubelet-arg+:\n- "manifest-url=http://10.0.2.2/pod.yaml"\n',
        'allow = ["k3s.kubelet-arg.manifest-url"]',
    ),
    ("network/10-lan.network", b"[Network]\nAddress=10.0.0.1/24\n", "[Match]"),
    ("network/10-lan.network", b"Address=10.0.0.1/24\n", "expected a section"),
    ("network/lan", b"[Match]\nName=*\n", "expected *.network or *.netdev"),
    ("ntp", b"ntp.example.org;reboot\n", "line 1: expected one server a line"),
    ("timezone", b"Europe/Berlin\n", "timezone: expected one rule"),
    ("wifi.conf", b"ctrl_interface=/run/x\n", "the image has no service 'wifi'"),
    ("proxy.conf", b"LD_PRELOAD=/tmp/x\n", "line 1: expected HTTP_PROXY"),
    ("registries.conf", b"[docker.io]\nendpoint=mirror\n", "line 2: expected endpoint="),
    ("ca/plant.crt", b"-----BEGIN CERTIFICATE-----\nMIIB\n", "the last certificate has no end"),
    ("script", b"#!/bin/sh\nif true\n", "Syntax error"),
    ("script/file", b"x\n", "script: is a directory, expected a file"),
    ("settings.toml", b"hostname = 'x'\n", "settings.toml: unknown, expected one of hostname"),
]
"""Path on the config partition, what lies there, what the gateway says about it."""
assert len(BAD) == 22


def put(gateway: Gateway, name: str, content: bytes) -> None:
    """Write a bad file to the config partition, in place of what lies there by that name."""
    place = f"/run/test/edgeimg/{name}"
    text = base64.b64encode(content).decode()
    top = name.split("/")[0]
    gateway.run(
        f"mkdir -p /run/test && mount {CONFIG} /run/test && mkdir -p /var/kept &&"
        f" rm -rf /var/kept/{top} && if [ -e /run/test/edgeimg/{top} ]; then"
        f" cp -r /run/test/edgeimg/{top} /var/kept/; fi && mkdir -p {place.rpartition('/')[0]}"
        f" && echo {text if len(text) < 50000 else ''} | base64 -d > {place}"
    )
    if len(text) >= 50000:  # too long for a command line
        gateway.run(f"head -c {len(content)} /dev/zero | tr '\\0' x > {place}")
    gateway.run("umount /run/test")


def put_right(gateway: Gateway, name: str) -> None:
    top = name.split("/")[0]
    gateway.run(
        f"mkdir -p /run/test && mount {CONFIG} /run/test && rm -rf /run/test/edgeimg/{top} &&"
        f" if [ -e /var/kept/{top} ]; then cp -r /var/kept/{top} /run/test/edgeimg/; fi &&"
        " umount /run/test"
    )


def read_again(gateway: Gateway, *, whole: bool) -> None:
    if whole or EVERY_RESTART:
        gateway.restart(PATIENCE)
        gateway.without_k3s()
    else:
        gateway.attempt("systemctl restart edgeimg-provision.service edgeimg-banner.service")


def is_told_everywhere(gateway: Gateway, expected: str) -> None:
    """On the screen, at login, in the status; and the gateway is what it was."""
    facts = gateway.run(
        "hostname; date +%z; systemctl is-failed edgeimg-provision.service; echo --;"
        " cat /run/edgeimg/provision.problem; echo --; edgeimg-status; echo --"
    ).split("--\n")
    assert facts[0] == "box-7\n+0545\nfailed\n"
    assert expected in facts[1]
    assert expected in facts[2]
    assert expected in gateway.login().stdout
    deadline = time.monotonic() + PATIENCE
    while expected.encode() not in gateway.guest.console.read_bytes():
        assert time.monotonic() < deadline, "the console does not tell"
        time.sleep(1)


@pytest.mark.parametrize(
    ("name", "content", "expected"), BAD, ids=[f"{name} {told}" for name, _, told in BAD]
)
def test_a_bad_file_is_told_and_changes_nothing(
    gateway: Gateway, name: str, content: bytes, expected: str
) -> None:
    put(gateway, name, content)
    read_again(gateway, whole=expected.endswith("expected server or agent"))
    is_told_everywhere(gateway, expected)
    put_right(gateway, name)


def test_a_damaged_partition_is_told_and_changes_nothing(gateway: Gateway) -> None:
    gateway.run(f"dd if=/dev/zero of={CONFIG} bs=1M count=1 conv=notrunc && sync")
    gateway.restart(PATIENCE)
    is_told_everywhere(gateway, "the config partition cannot be read")
    assert gateway.run("cat /sys/class/net/*/address | grep -c 52:54:00:77:00:07") == "2\n"
    # The script is not run again.
    assert "has run before" in gateway.until("journalctl -q -b -u edgeimg-script", 300)
