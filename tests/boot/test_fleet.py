"""Three gateways flashed from one fleet file: what each becomes, what they share, what they leave.

Several guests at once take long where they are emulated, so it is asked for:
EDGEIMG_TEST_CLUSTER=three boots three gateways of x86-64, =all one of each architecture.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from edgeimg.arch import ARM, ARM64, X86_64, Arch
from edgeimg.tools import Toolbox
from edgeimg.vm.argv import GuestOptions, Lan

from tests import disk_scan, loop_devices
from tests.cluster import ALL, PATIENCE, Cluster, Stopwatch, image
from tests.gateway import CPUS, PROJECT, Gateway, booted

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh: apt install openssh-client"),
    pytest.mark.skipif(not shutil.which("debugfs"), reason="no debugfs: apt install e2fsprogs"),
    pytest.mark.skipif(
        os.geteuid() != 0 or not Path("/dev/loop-control").exists(),
        reason="needs root, loop devices",
    ),
    pytest.mark.skipif(
        os.environ.get("EDGEIMG_TEST_CLUSTER") not in ("three", "all"),
        reason="asked for with EDGEIMG_TEST_CLUSTER=three or =all",
    ),
]
ARCHS = (X86_64, ARM64, ARM) if ALL else (X86_64, X86_64, X86_64)
EDGEIMG = shutil.which("edgeimg") or "edgeimg"
DISK = 4 << 30
SET = "data:/lib/edgeimg/provision/k3s.yaml"
"""Where a gateway keeps what it was told: its last good set."""
KEPT = "data:/lib/rancher/k3s/server"
"""Where K3s keeps the token of its cluster."""


@dataclass(frozen=True)
class Box:
    number: int
    arch: Arch

    @property
    def name(self) -> str:
        return f"box-{self.number}"

    @property
    def address(self) -> str:
        return f"192.168.78.{self.number}"

    @property
    def mac(self) -> str:
        return f"52:54:00:78:00:{self.number:02x}"

    @property
    def role(self) -> str:
        return "server" if self.number == 1 else "agent"


BOXES = tuple(Box(number, arch) for number, arch in enumerate(ARCHS, 1))


@dataclass(frozen=True)
class Fleet:
    folder: Path
    cluster: Cluster[Box]

    @property
    def token(self) -> str:
        return (self.folder / "fleet.token").read_text().strip()


@pytest.fixture(scope="module")
def fleet(
    toolbox: Callable[[str], Toolbox], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("fleet")
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / "key"], check=True
    )
    (folder / "fleet.csv").write_text(
        "hostname,arch,mac,network.lan.mac,network.lan.addresses,k3s.role\n"
        + "".join(
            f"{b.name},{b.arch.name},{b.mac},{b.mac},{b.address}/24,{b.role}\n" for b in BOXES
        )
    )
    (folder / "site.toml").write_text('ssh_key_files = ["key.pub"]\nk3s.labels = {hall = "7"}\n')
    for arch in dict.fromkeys(ARCHS):
        flash(folder, image(arch), [box for box in BOXES if box.arch is arch])
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def start(box: Box) -> contextlib.AbstractContextManager[Gateway]:
        return booted(
            folder / box.name, folder / "key", toolbox=toolbox("qemu"),
            console=PROJECT / f"out/test/fleet-{box.name}.log", arch=box.arch,
            options=GuestOptions(
                memory=512 if box.number == 1 else 256, cpus=CPUS,
                lan=Lan(port=port, mac=box.mac),
            ),
            seconds=PATIENCE,
        )  # fmt: skip

    guests = [start(box) for box in BOXES]
    with contextlib.ExitStack() as stack:
        # A guest ends with the thread that started it: the threads stay until all guests are gone.
        pool = stack.enter_context(ThreadPoolExecutor(len(guests)))
        gateways = tuple(pool.map(stack.enter_context, guests))
        yield Fleet(folder, Cluster(BOXES, gateways))


def flash(folder: Path, made: Path, boxes: list[Box]) -> None:
    """Onto loop devices, in the place of cards."""
    with loop_devices.readers(len(boxes)) as disks:
        for box, disk in zip(boxes, disks, strict=True):
            with (folder / box.name).open("wb") as file:
                file.truncate(DISK)
            loop_devices.insert(disk, folder / box.name)
        subprocess.run(
            [EDGEIMG, "fleet", "flash", made, folder / "fleet.csv", *disks, "--any-disk",
             "--no-wait", "--generate-token", "--defaults", folder / "site.toml"],
            check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip


def test_three_gateways_of_one_file_become_one_cluster_and_share_no_secret(
    fleet: Fleet, toolbox: Callable[[str], Toolbox], tmp_path: Path
) -> None:
    cluster, clock = fleet.cluster, Stopwatch()
    for box, gateway in zip(BOXES, cluster.gateways, strict=True):
        it_is_the_one_of_its_row(box, gateway)
    cluster.until(cluster.ready, "not all nodes are Ready")
    clock.say("all nodes Ready")
    nodes = json.loads(cluster.kubectl("get nodes -o json"))["items"]
    told = {
        node["metadata"]["name"]: [
            one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP"
        ]
        for node in nodes
    }
    assert told == {box.name: [box.address] for box in BOXES}
    assert {node["metadata"]["labels"]["hall"] for node in nodes} == {"7"}
    no_two_share_a_key(cluster)
    for gateway in cluster.gateways:
        the_config_partition_keeps_no_secret(gateway, fleet.token)
    clock.say("looked at")

    # The agents first: their server hears of it.
    for box, gateway in reversed(list(zip(BOXES, cluster.gateways, strict=True))):
        raw = tmp_path / "disk.raw"
        at_rest(gateway, raw, toolbox("qemu"))
        found = disk_scan.holders(raw, fleet.token.encode(), tmp_path, toolbox=toolbox("pack"))
        print(f"{box.name}: the token is in {', '.join(sorted(found))}", flush=True)
        allowed = {SET}
        if box.role == "server":
            allowed |= {f"{KEPT}/{name}" for name in ("token", "agent-token", "cred/passwd")}
        assert SET in found
        assert found <= allowed
        raw.unlink()
        clock.say(f"{box.name} shut down and searched")


def it_is_the_one_of_its_row(box: Box, gateway: Gateway) -> None:
    assert gateway.run("hostname") == box.name + "\n"
    assert f" {box.address}/24 " in gateway.until(f"ip -4 addr show | grep {box.address}/24")
    assert (
        gateway.run("uname -m")
        .strip()
        .startswith({"x86-64": "x86_64", "arm64": "aarch64", "arm": "armv7"}[box.arch.name])
    )
    assert f"K3S_ROLE={box.role}" in gateway.run(
        "cat /etc/rancher/k3s/k3s.env 2> /dev/null || echo K3S_ROLE=server"
    )


def no_two_share_a_key(cluster: Cluster[Box]) -> None:
    """Machine ids, ssh host keys, every private key of K3s, and the nodes' certificates."""
    ask = {
        "machine-id": "cat /etc/machine-id",
        "keys of K3s": "find /var/lib/rancher/k3s -name '*.key' -type f -exec sha256sum {} +"
        " | cut -c1-64",
        "certificates": "sha256sum /var/lib/rancher/k3s/agent/client-kubelet.crt | cut -c1-64",
    }
    for what, command in ask.items():
        told = [set(gateway.run(command).split()) for gateway in cluster.gateways]
        assert all(told), f"{what}: a gateway has none"
        every = [one for gateway in told for one in gateway]
        assert len(set(every)) == len(every), f"{what} are shared"
    scanned = [
        subprocess.run(
            ["ssh-keyscan", "-T", "60", "-p", str(gateway.port), "127.0.0.1"],
            check=True, capture_output=True, text=True,
        ).stdout.split()
        for gateway in cluster.gateways
    ]  # fmt: skip
    keys = [word for words in scanned for word in words if word.startswith("AAAA")]
    assert len(set(keys)) == len(keys) >= len(cluster.gateways)


def the_config_partition_keeps_no_secret(gateway: Gateway, token: str) -> None:
    # For busybox a line ends at its first NUL.
    search = "tr '\\000' '\\n' < $(readlink -f /dev/disk/by-partlabel/config) | grep -F "
    assert gateway.attempt(search + token).returncode == 1
    assert "box-" in gateway.run(search + "box-")  # the name stays


def at_rest(gateway: Gateway, output: Path, toolbox: Toolbox) -> None:
    """Shut down, and give out the whole disk."""
    gateway.attempt("systemctl poweroff")
    gateway.guest.process.wait(PATIENCE)
    toolbox.run("qemu-img", "convert", "-O", "raw", gateway.guest.disk, output, timeout=PATIENCE)
