"""A gateway behind NAT that a second one reaches through a tunnel, with a key made on the first.

QEMU's network for each guest is a NAT. The second guest's UDP port is on the host, where the first
one calls it. It is asked for with EDGEIMG_TEST_WIREGUARD=1.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from edgeimg.arch import X86_64
from edgeimg.cache.store import Store
from edgeimg.provision import partition
from edgeimg.provision.rendering import files
from edgeimg.provision.settings import Settings
from edgeimg.tools import Toolbox
from edgeimg.vm.argv import GuestOptions
from edgeimg.vm.disk import raw_image
from pydantic import SecretStr

from tests.cluster import image
from tests.gateway import CPUS, PROJECT, Gateway, booted
from tests.keys import wireguard_public

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh: apt install openssh-client"),
    pytest.mark.skipif(
        os.environ.get("EDGEIMG_TEST_WIREGUARD") != "1",
        reason="asked for with EDGEIMG_TEST_WIREGUARD=1",
    ),
]
PATIENCE = 900
BOX, DESK = "10.8.0.11", "10.8.0.1"
STATUS = "edgeimg-status --json"


@dataclass(frozen=True, kw_only=True)
class Pair:
    box: Gateway
    desk: Gateway
    public: str
    """The key that the first one has made."""
    shared: str


def free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="module")
def pair(
    cache: Store, toolbox: Callable[[str], Toolbox], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Pair]:
    root = tmp_path_factory.mktemp("wireguard")
    key = root / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    port = free_udp_port()
    private, shared = secrets.token_bytes(32), base64.b64encode(secrets.token_bytes(32)).decode()

    def start(
        name: str, wireguard: dict[str, Any], options: GuestOptions
    ) -> contextlib.AbstractContextManager[Gateway]:
        raw: Path = root / f"{name}.raw"
        subprocess.run(["cp", "--sparse=always", raw_image(image(X86_64), cache), raw], check=True)
        login = key.with_suffix(".pub").read_text().strip()
        settings = Settings.model_validate(
            {"hostname": name, "ssh_keys": [login], "wireguard": wireguard}
        )
        partition.write(raw, files(settings), toolbox=toolbox("pack"))
        console = PROJECT / f"out/test/wireguard-{name}.log"
        return booted(raw, key, toolbox=toolbox("qemu"), console=console, options=options)

    peer = {"preshared_key_file": SecretStr(shared)}
    to_desk = {**peer, "public_key": wireguard_public(private), "allowed_ips": [f"{DESK}/32"],
               "endpoint": f"10.0.2.2:{port}", "keepalive": 5}  # fmt: skip
    with contextlib.ExitStack() as stack:
        box = stack.enter_context(
            start("box", {"addresses": [f"{BOX}/24"], "peers": [to_desk]}, GuestOptions(cpus=CPUS))
        )
        box.without_k3s()
        status = json.loads(box.run(STATUS))["wireguard"]
        assert status["state"] == "no answer from a peer yet"
        public = status["public_key"]
        to_box = {**peer, "public_key": public, "allowed_ips": [f"{BOX}/32"]}
        of_desk = {
            "private_key_file": SecretStr(base64.b64encode(private).decode()),
            "addresses": [f"{DESK}/24"],
            "listen_port": 51820,
            "peers": [to_box],
        }
        desk = stack.enter_context(
            start("desk", of_desk, GuestOptions(cpus=CPUS, udp_forwards=((port, 51820),)))
        )
        desk.without_k3s()
        yield Pair(box=box, desk=desk, public=public, shared=shared)


def reached(pair: Pair) -> None:
    """From the desk to the port of ssh and to a service of the gateway behind NAT."""
    banner = f"busybox nc -w 20 {BOX} 22 < /dev/null | grep ^SSH-"
    assert pair.desk.until(banner, PATIENCE).startswith("SSH-")
    pair.desk.until(f"busybox wget -q -T 20 -O - http://{BOX}:9080/", PATIENCE)


def test_a_gateway_behind_nat_is_reached(pair: Pair) -> None:
    reached(pair)
    reported = json.loads(pair.box.run(STATUS))["wireguard"]
    assert reported["state"].endswith("sent")
    assert reported["public_key"] == pair.public
    assert f"WireGuard public key: {pair.public}" in pair.box.run("edgeimg-status")
    assert pair.public.encode() in pair.box.guest.console.read_bytes()
    # Control: without the tunnel, the peer cannot be reached.
    pair.box.run("ip link set wg0 down")
    assert pair.desk.attempt(f"busybox wget -q -T 5 -O - http://{BOX}:9080/").returncode != 0
    pair.box.run("ip link set wg0 up; systemctl restart systemd-networkd")
    reached(pair)
    for gateway in (pair.box, pair.desk):
        modules = gateway.run("grep -E 'wireguard|curve25519|chacha|udp_tunnel' /proc/modules")
        print(modules)


def test_keys_are_for_root_and_networkd(pair: Pair) -> None:
    device = "/run/systemd/network/05-wg0.netdev"
    assert pair.box.run(f"stat -c '%a %U %G' {device}") == "640 root systemd-network\n"
    assert pair.box.run("stat -c %a /var/lib/edgeimg/provision-wireguard") == "600\n"
    card = pair.box.attempt(f"grep -qF {pair.shared} $(readlink -f /dev/disk/by-partlabel/config)")
    assert card.returncode == 1, card.stderr


def test_the_key_stays_and_the_tunnel_comes_back_after_a_restart(pair: Pair) -> None:
    pair.box.restart(PATIENCE)
    pair.box.without_k3s()
    assert json.loads(pair.box.run(STATUS))["wireguard"]["public_key"] == pair.public
    reached(pair)
