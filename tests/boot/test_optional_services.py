"""The optional services (recipes/services), all in one gateway, as far as a virtual machine goes:
two simulated radios, a simulated USB device, no modem, no other computer.
"""

from __future__ import annotations

import base64
import contextlib
import json
import shutil
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeimg.arch import X86_64
from edgeimg.provision.rendering import files
from edgeimg.provision.settings import Settings
from edgeimg.vm.disk import raw_image
from pydantic import SecretStr

from tests import gateway as gateways
from tests.gateway import PROJECT, Gateway, booted, built, edgeimg

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh: apt install openssh-client"),
]
FRAGMENTS = sorted(path.stem for path in (PROJECT / "recipes/services").glob("*.toml"))
ALL = ("-r", "recipes/all.toml")
TOP = """\
include = ["gateway.toml", {fragments}]

[kernel]
modules = ["mac80211_hwsim", "dummy_hcd", "g_serial"]    # hardware that is not there

[budget]
root = "300 MiB"
download = "150 MiB"
"""
WPA = "edgeimg-service shell wifi wpa_cli"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default project with a recipe of everything, locked for all architectures."""
    root = tmp_path_factory.mktemp("optional")
    gateways.project(root)
    fragments = ", ".join(f'"services/{name}.toml"' for name in FRAGMENTS)
    (root / "recipes/all.toml").write_text(TOP.format(fragments=fragments))
    # What is locked already stays: only what is new is resolved.
    shutil.copy(root / "recipes/gateway.lock.toml", root / "recipes/all.lock.toml")
    edgeimg(root, "lock", *ALL, "--accept-unsigned-index", "arm")
    return root


@pytest.fixture(scope="module")
def gateway(project: Path, cache, toolbox, tmp_path_factory) -> Iterator[Gateway]:
    raw = raw_image(built(project, X86_64, *ALL), cache)
    console = tmp_path_factory.mktemp("guest") / "console.log"
    with booted(raw, project / "key", toolbox=toolbox("qemu"), console=console) as running:
        running.without_k3s()
        yield running


@pytest.mark.parametrize("arch", ["arm64", "arm"])
def test_they_are_sound_for_the_other_architectures(project: Path, arch: str) -> None:
    told = json.loads(edgeimg(project, "check", *ALL, "-a", arch, "--k3s", "standin", "--json"))
    found = [finding for report in told["reports"] for finding in report["findings"]]
    assert [finding for finding in found if "services/" in finding["path"]] == []


def test_all_run_and_are_well(gateway: Gateway) -> None:
    for name in FRAGMENTS:
        gateway.until(f"systemctl is-active container-{name}.service", 120)
    told = {one["name"]: one for one in json.loads(gateway.run("edgeimg-service list --json"))}
    assert told.keys() == {"health", "ssh", *FRAGMENTS}
    assert {one["health"] for one in told.values()} == {"ok", "-"}
    assert {one["restarts"] for one in told.values()} == {0}


def capabilities(gateway: Gateway, program: str) -> tuple[str, str]:
    """User number and effective capabilities of a program that runs."""
    status = gateway.until(f"cat /proc/$(pidof {program} | cut -d ' ' -f 1)/status", 60)
    facts = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    return facts["Uid"].split()[1], facts["CapEff"].lstrip("0")


@pytest.mark.parametrize(
    ("program", "own_user", "granted"),
    [
        ("mdnsd", True, ""),
        ("prometheus-node-exporter", True, ""),
        ("chronyd", True, "2000400"),  # SYS_TIME, NET_BIND_SERVICE
        ("ModemManager", False, "1000"),  # NET_ADMIN
    ],
)
def test_they_have_what_they_need(
    gateway: Gateway, program: str, own_user: bool, granted: str
) -> None:
    user, effective = capabilities(gateway, program)
    assert effective == granted
    assert (59000 <= int(user) < 60000) if own_user else user == "0"


def test_the_gateway_answers_to_its_name(gateway: Gateway) -> None:
    card = gateway.run("basename $(dirname /sys/class/net/en*/device)").strip()
    query = f"edgeimg-service shell mdns mquery -s -i {card} -w 5 -t 1 gateway.local."
    assert "A gateway.local." in gateway.until(f"{query} | grep 'to ip 10.0.2.15'")


def test_metrics_are_those_of_the_gateway(gateway: Gateway) -> None:
    metrics = gateway.until("wget -q -T 30 -O - http://127.0.0.1:9100/metrics", 120)
    values = dict(line.rsplit(" ", 1) for line in metrics.splitlines() if line[:1] != "#")
    disk = next(value for key, value in values.items() if "size_bytes" in key and '"/var"' in key)
    assert float(disk) == int(gateway.run("df -k /var | awk 'END { print $2 }'")) * 1024
    assert any('nodename="gateway"' in key for key in values)
    total = int(gateway.run("awk '/^MemTotal/ { print $2 }' /proc/meminfo"))
    assert float(values["node_memory_MemTotal_bytes"]) == total * 1024


@contextlib.contextmanager
def time_server(ahead: int) -> Iterator[int]:
    """An NTP server (RFC 5905) on this host, `ahead` seconds ahead of it; its port."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    asked, client = server.recvfrom(512)
                    if not asked:
                        return
                    now = int((time.time() + ahead + 2_208_988_800) * 2**32)
                    # Leap none, version 4, server; stratum 1; their time stamp, then ours.
                    head = struct.pack(">BBbbII4s", 0x24, 1, asked[2], -20, 0, 16, b"TEST")
                    times = (now, int.from_bytes(asked[40:48]), now, now)
                    server.sendto(head + struct.pack(">4Q", *times), client)

        threading.Thread(target=answer, daemon=True).start()
        yield server.getsockname()[1]
        with contextlib.suppress(OSError):  # it was never connected, but wakes up
            server.shutdown(socket.SHUT_RDWR)


def test_chrony_has_the_clock_and_timesyncd_is_not_there(gateway: Gateway) -> None:
    assert gateway.attempt("systemctl cat systemd-timesyncd.service").returncode != 0
    assert ":123" in gateway.run("netstat -uln")
    sources = "/var/lib/edgeimg/services/chrony/sources.d"
    with time_server(ahead=3600) as port:
        gateway.run(f"echo 'server 10.0.2.2 port {port} iburst' > {sources}/host.sources")
        gateway.run("edgeimg-service shell chrony chronyc reload sources")
        behind = int(time.time()) + 1800
        gateway.until(f"[ $(date +%s) -gt {behind} ]", 120)


def test_they_find_what_the_gateway_is_provisioned_with(gateway: Gateway) -> None:
    settings = Settings.model_validate({
        "ntp": ["192.0.2.1"],
        "lte": {"apn": "internet", "pin_file": SecretStr("1234")},
        "wifi": {"country": "DE", "networks": [
            {"ssid": "hall", "passphrase_file": SecretStr("secret123")},
        ]},
    })  # fmt: skip
    gateway.run("mkdir /run/test && mount /dev/disk/by-partlabel/config /run/test")
    for path, content in files(settings).items():
        text = base64.b64encode(content).decode()
        gateway.run(f"mkdir -p /run/test/edgeimg && echo {text} | base64 -d > /run/test/{path}")
    gateway.run("umount /run/test && systemctl restart edgeimg-provision.service")
    told = gateway.run("edgeimg-service shell lte busybox cat /gateway/connect")
    assert told == "apn=internet,pin=1234\n"
    gateway.run("edgeimg-service shell chrony chronyc reload sources")
    assert "192.0.2.1" in gateway.run("edgeimg-service shell chrony chronyc -n sources")


def test_two_radios_find_each_other(gateway: Gateway) -> None:
    # The access point is told on the spot; the other joins what it was provisioned with, above.
    assert "waiting for a wireless card" in gateway.run("edgeimg-service logs wifi")
    gateway.run("modprobe mac80211_hwsim")
    gateway.until(f"{WPA} -i wlan0 ping && {WPA} -i wlan1 ping", 60)
    user, effective = capabilities(gateway, "wpa_supplicant")
    assert 59000 <= int(user) < 60000
    assert effective == "3000"  # NET_ADMIN, NET_RAW
    number = gateway.run(f"{WPA} -i wlan1 add_network").split()[-1]
    words = ["ssid '\"hall\"'", "psk '\"secret123\"'", "mode 2", "frequency 2412",
             "key_mgmt WPA-PSK", "proto RSN", "pairwise CCMP"]  # fmt: skip
    told = [f"{WPA} -i wlan1 set_network {number} {word}" for word in words]
    gateway.run(f"{' && '.join(told)} && {WPA} -i wlan1 select_network {number}")
    gateway.until(f"{WPA} -i wlan0 status | grep wpa_state=COMPLETED", 180)
    gateway.run(f"{WPA} -i wlan1 save_config")
    assert "mode=2" in gateway.run("cat /var/lib/edgeimg/services/wifi/wpa_supplicant.conf")


def test_the_serial_shell_has_serial_ports_and_nothing_else(gateway: Gateway) -> None:
    gateway.run("modprobe dummy_hcd && modprobe g_serial")
    gateway.until("[ -c /dev/ttyACM0 ] && [ -c /dev/ttyGS0 ]", 60)
    inside = "edgeimg-service shell serial"
    # The other end of the cable says a word, again and again.
    gateway.run(
        "stty -F /dev/ttyGS0 raw -echo; "
        "(while sleep 1; do echo word > /dev/ttyGS0; done) > /dev/null 2>&1 &"
    )
    port = "/dev/gateway/ttyACM0"
    said = gateway.run(
        f"{inside} sh -c 'busybox stty -F {port} raw -echo; busybox head -n 1 {port}'"
    )
    assert said.strip() == "word"
    assert gateway.run(f"{inside} mbpoll -V").startswith("1.")
    for device in ("vda", "kmsg", "mem"):
        result = gateway.attempt(f"{inside} busybox head -c 1 /dev/gateway/{device}")
        assert result.returncode != 0
        assert "Operation not permitted" in result.stderr


def test_there_is_no_modem(gateway: Gateway) -> None:
    inside = "edgeimg-service shell lte"
    assert "No modems were found" in gateway.run(f"{inside} mmcli -L")
    # Allowed by polkit, which runs as well.
    assert "success" in gateway.run(f"{inside} mmcli --scan-modems")
