"""Gateways that form a cluster: one image, made a server and agents by provisioning alone.

Several guests at once take long where they are emulated, so it is asked for:
EDGEIMG_TEST_CLUSTER=two boots two gateways of x86-64, =all a server of x86-64 with an agent of
ARM64 and one of ARMv7. Their clocks start in 1970, and nothing tells them the time.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest
from edgeimg.arch import ARM, ARM64, X86_64, Arch
from edgeimg.cache.store import Store
from edgeimg.provision import partition
from edgeimg.provision.rendering import files
from edgeimg.provision.settings import Settings
from edgeimg.recipe.tables import Image
from edgeimg.tools import Toolbox
from edgeimg.vm.argv import GuestOptions, Lan
from edgeimg.vm.disk import raw_image
from pydantic import SecretStr

from tests.cluster import ALL, DAEMONSET, PATIENCE, Cluster, Stopwatch, image
from tests.gateway import CPUS, PROJECT, Gateway, booted

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh: apt install openssh-client"),
    pytest.mark.skipif(
        os.environ.get("EDGEIMG_TEST_CLUSTER") not in ("two", "all"),
        reason="asked for with EDGEIMG_TEST_CLUSTER=two or =all",
    ),
]
AGENTS = (ARM64, ARM) if ALL else (X86_64,)


@dataclass(frozen=True, kw_only=True)
class Member:
    """One gateway of the cluster, before it is booted."""

    name: str
    arch: Arch
    number: int
    token: str

    @property
    def address(self) -> str:
        return f"192.168.77.{self.number}"

    @property
    def mac(self) -> str:
        return f"52:54:00:77:00:{self.number:02x}"

    def settings(self, key: str) -> Settings:
        join = {} if self.number == 1 else {"role": "agent", "server": "https://192.168.77.1:6443"}
        return Settings.model_validate({
            "hostname": self.name,
            "ssh_keys": [key],
            "network": {"lan": {"mac": self.mac, "addresses": [f"{self.address}/24"]}},
            "k3s": {"token_file": SecretStr(self.token), "node_ips": [self.address],
                    "labels": {"test/arch": self.arch.name}, **join},
        })  # fmt: skip


@pytest.fixture(scope="module")
def cluster(
    cache: Store, toolbox: Callable[[str], Toolbox], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cluster[Member]]:
    root = tmp_path_factory.mktemp("cluster")
    key = root / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    token = secrets.token_hex(16)
    members = tuple(
        Member(name=f"box-{number}", arch=arch, number=number, token=token)
        for number, arch in enumerate((X86_64, *AGENTS), 1)
    )
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def start(member: Member) -> contextlib.AbstractContextManager[Gateway]:
        raw = root / f"{member.name}.raw"
        subprocess.run(
            ["cp", "--sparse=always", raw_image(image(member.arch), cache), raw], check=True
        )
        wanted = files(member.settings(key.with_suffix(".pub").read_text()))
        partition.write(raw, wanted, toolbox=toolbox("pack"))
        return booted(
            raw, key, toolbox=toolbox("qemu"), console=PROJECT / f"out/test/{member.name}.log",
            arch=member.arch, seconds=PATIENCE,
            options=GuestOptions(
                memory=512 if member.number == 1 else 256, cpus=CPUS,
                lan=Lan(port=port, mac=member.mac), clock="1970-01-01T00:00:00",
            ),
        )  # fmt: skip

    guests = [start(member) for member in members]
    with contextlib.ExitStack() as stack:
        # A guest ends with the thread that started it: the threads stay until all guests are gone.
        pool = stack.enter_context(ThreadPoolExecutor(len(guests)))
        yield Cluster(members, tuple(pool.map(stack.enter_context, guests)))


def test_gateways_form_a_cluster_that_survives_restarts(cluster: Cluster[Member]) -> None:
    clock = Stopwatch()
    clocks_stood_still_and_do_not_matter(cluster)
    cluster.until(cluster.ready, "not all nodes are Ready")
    clock.say("all nodes Ready")
    labels = json.loads(cluster.kubectl("get nodes -o json"))["items"]
    assert [node["metadata"]["labels"]["test/arch"] for node in labels] == [
        member.arch.name for member in cluster.members
    ]
    cluster.kubectl(f"apply --validate=false -f - <<'END'{DAEMONSET}END\n")
    cluster.pods_reach_each_other()
    clock.say("pods reach each other")
    for member, gateway in zip(cluster.members, cluster.gateways, strict=True):
        secrets_are_kept_in_one_place(member, gateway)
        memory = gateway.run("free -m | awk '/^Mem/ { print $3, $6, $7 }'").split()
        print(f"{member.name} ({member.arch.name}): {memory} MiB used, cached, available")
    for gateway in cluster.gateways[1:]:
        gateway.until("edgeimg-status | grep 'K3s: agent of https://192.168.77.1:6443, Ready, '")

    cluster.server.restart(PATIENCE)
    heard = cluster.leases()
    cluster.until(lambda: not set(heard) & set(cluster.leases()), "a node is not heard of")
    cluster.until(cluster.ready, "not all nodes are Ready again")
    clock.say("all nodes Ready again after the server's restart")
    cluster.pods_reach_each_other()
    clock.say("pods reach each other again")

    # Years have passed since the image was made; first the server learns it, then the agents.
    for gateway in cluster.gateways:
        a_clock_that_jumps_renews_certificates(gateway)
    heard = cluster.leases()
    cluster.until(lambda: not set(heard) & set(cluster.leases()), "a node is not heard of")
    cluster.until(cluster.ready, "not all nodes are Ready after the clocks jumped")
    clock.say("all nodes Ready after all clocks jumped")

    a_bad_file_is_told_and_changes_nothing(cluster, 1)
    cluster.until(cluster.ready, "not all nodes are Ready after the agent's restart")
    cluster.pods_reach_each_other()
    clock.say("an agent restarted, with a bad file")


def clocks_stood_still_and_do_not_matter(cluster: Cluster[Member]) -> None:
    """The hardware's clock has not the time; the system's is at the floor, the same for all.

    That is the image's epoch, or the time at which its systemd was built if that is later.
    """
    told = [int(gateway.run("date +%s")) for gateway in cluster.gateways]
    assert max(told) - min(told) < 86400
    assert 0 <= min(told) - Image().epoch < 2 * 365 * 86400
    for member, gateway in zip(cluster.members, cluster.gateways, strict=True):
        hardware = int(gateway.run("cat /sys/class/rtc/rtc0/since_epoch"))
        # A PC's has two digits for the year, and OVMF takes 70 for 2070: as wrong as 1970.
        started = 3155760000 if member.arch is X86_64 else 0
        assert 0 <= hardware - started < 86400, member


def secrets_are_kept_in_one_place(member: Member, gateway: Gateway) -> None:
    # For busybox a line ends at its first NUL.
    search = "tr '\\000' '\\n' < $(readlink -f /dev/disk/by-partlabel/config) | grep -F "
    found = gateway.attempt(search + member.token)
    assert found.returncode == 1, found.stderr
    assert member.name in gateway.run(search + member.name)
    assert gateway.run("hostname") == member.name + "\n"
    assert gateway.run("stat -c %a /var/lib/edgeimg/provision") == "700\n"


def a_clock_that_jumps_renews_certificates(gateway: Gateway) -> None:
    main = "$(systemctl show -P MainPID k3s.service)"
    before = gateway.run(f"echo {main}").strip()
    gateway.run("date -s @$(($(date +%s) + 700 * 86400))")
    gateway.until(f"[ {main} != {before} ] && systemctl -q is-active k3s.service", PATIENCE)


def a_bad_file_is_told_and_changes_nothing(cluster: Cluster[Member], index: int) -> None:
    gateway, member = cluster.gateways[index], cluster.members[index]
    gateway.run(
        "mkdir /tmp/config && mount /dev/disk/by-partlabel/config /tmp/config &&"
        " echo 'Not a name' > /tmp/config/edgeimg/hostname && umount /tmp/config"
    )
    gateway.restart(PATIENCE)
    assert gateway.run("hostname") == member.name + "\n"
    assert "hostname: expected one name" in gateway.until("edgeimg-status")
    assert "nothing of it was taken over" in gateway.login().stdout
    console = gateway.guest.console
    deadline = time.monotonic() + PATIENCE
    while b"PROVISIONING FAILED" not in console.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(1)
