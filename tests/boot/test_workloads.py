"""The MQTT gateway, without any network, through power cuts and a full disk."""

from __future__ import annotations

import base64
import gzip
import json
import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edgeimg import tools
from edgeimg.arch import X86_64
from edgeimg.cache.store import Store
from edgeimg.sources import k3s, kubernetes
from edgeimg.tools import Toolbox
from edgeimg.vm.disk import raw_image

from tests.console import Console, Switch, switched
from tests.gateway import EMPTY, FILL, PROJECT, built
from tests.standin import compiled

pytestmark = pytest.mark.boot
CUTS = int(os.environ.get("EDGEIMG_TEST_POWER_CUTS", "2"))
MESSAGES = "/var/lib/edgeimg/volumes/mqtt/messages/messages"
DATASTORE = "/var/lib/rancher/k3s/server/db/state.bolt"
BACKEND = {"service": {"name": "x", "port": {"number": 80}}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}}
POLICIES = {
    "NetworkPolicy": "networkpolicies",
    "Service": "loadbalancers",
    "Ingress": "ingresses",
    "PersistentVolumeClaim": "claims",
}
_LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+0000 gateway/numbers \d+")


@pytest.fixture(scope="module")
def raw(cache: Store) -> Path:
    image = built(PROJECT, X86_64, "-r", "recipes/mqtt-gateway.toml", "-o", "out/test")
    return raw_image(image, cache)


@pytest.fixture(scope="module")
def power(
    raw: Path, toolbox: Callable[[str], Toolbox], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Switch]:
    """The one gateway of this module."""
    work = tmp_path_factory.mktemp("gateway")
    with switched(raw, work, toolbox=toolbox("qemu")) as switch:
        yield switch


def received(gateway: Console) -> list[str]:
    said = gateway.attempt(f"cat {MESSAGES}")[1]
    return [line for line in said.splitlines() if line]


def wait_for_messages(gateway: Console, fresh: int) -> list[str]:
    """The messages, once `fresh` of this boot are among them; nothing is torn."""
    since = 'date -u -d "@$(($(date +%s) - $(cut -d . -f 1 /proc/uptime)))" +%Y-%m-%dT%H:%M:%S'
    count = f"awk -v since=\"$({since})\" '$1 > since {{ n++ }} END {{ print n + 0 }}' {MESSAGES}"
    gateway.until(f"[ $({count}) -ge {fresh} ]", 900)
    lines = received(gateway)
    assert [line for line in lines if not _LINE.fullmatch(line)] == []
    return lines


def test_messages_flow_from_the_first_boot_on_without_a_network(power: Switch) -> None:
    gateway = power.on()
    assert len(wait_for_messages(gateway, 3)) >= 3
    assert gateway.attempt("ls -d /sys/class/net/*/device")[0] != 0  # there is no card
    # Nothing was unpacked: the layers are directories of the read-only root.
    kib = int(gateway.run("du -sk /var/lib/containerd").split()[0])
    assert kib < 4096
    images = gateway.run("ctr -n k8s.io images ls -q").split()
    assert {"localhost/mqtt/broker:1", "localhost/mqtt/clients:1"} <= set(images)


@pytest.mark.parametrize(
    ("refused", "key", "taken"),
    [
        (
            {"kind": "NetworkPolicy", "spec": {"podSelector": {}}},
            "set disable-network-policy = false",
            {"kind": "Service", "spec": {"ports": [{"port": 80}]}},
        ),
        (
            {"kind": "Service", "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]}},
            "take 'servicelb' off `disable`",
            {"kind": "Service", "spec": {"type": "LoadBalancer", "ports": [{"port": 80}],
                                         "loadBalancerClass": "example.org/own"}},
        ),
        (
            {"kind": "Ingress", "spec": {"defaultBackend": BACKEND}},
            "take 'traefik' off `disable`",
            {"kind": "Ingress", "spec": {"defaultBackend": BACKEND, "ingressClassName": "own"}},
        ),
        (
            {"kind": "PersistentVolumeClaim", "spec": CLAIM},
            "take 'local-storage' off `disable`",
            {"kind": "PersistentVolumeClaim", "spec": {**CLAIM, "storageClassName": ""}},
        ),
    ],
    ids=["network-policy", "load-balancer", "ingress", "claim"],
)  # fmt: skip
def test_what_the_recipe_disables_is_refused_with_the_key(
    power: Switch, refused: dict[str, Any], key: str, taken: dict[str, Any]
) -> None:
    gateway = power.on()
    binding = f"edgeimg-{POLICIES[refused['kind']]}"
    gateway.until(f"kubectl get validatingadmissionpolicybindings {binding}", 600)
    # The API server compiles a policy when it is new.
    output = gateway.until(
        f"said=$({create(refused)} 2>&1); echo $said; echo $said | grep recipe", 120
    )
    assert key in output
    # A claim may find a volume that somebody made for it, so that is a warning.
    assert ("forbidden" in output) == (refused["kind"] != "PersistentVolumeClaim")
    assert "recipe" not in gateway.run(create(taken))


def create(item: dict[str, Any]) -> str:
    """The command that has an object admitted, without keeping it."""
    networking = item["kind"] in ("NetworkPolicy", "Ingress")
    version = "networking.k8s.io/v1" if networking else "v1"
    text = json.dumps({"apiVersion": version, "metadata": {"name": "tried"}, **item})
    return f"printf %s '{text}' | kubectl create --validate=false --dry-run=server -f -"


def test_disk_pressure_removes_no_image_that_came_along(power: Switch) -> None:
    gateway = power.on()
    wait_for_messages(gateway, 1)
    gateway.run(FILL, 600)
    pressure = (
        'kubectl get nodes -o jsonpath=\'{.items[0].status.conditions[?(@.type=="DiskPressure")]'
        ".status}'"
    )
    gateway.until(f'[ "$({pressure})" = True ]', 600)
    # The kubelet removes images before it ends pods: by now it has tried.
    gateway.until("kubectl get events -A | grep -q -e EvictionThresholdMet -e FreeDiskSpaceFailed")
    images = gateway.run("ctr -n k8s.io images ls -q").split()
    assert {
        "localhost/mqtt/broker:1", "localhost/mqtt/clients:1", "localhost/edgeimg/hello:1",
        "localhost/edgeimg/pause:1",
    } <= set(images)  # fmt: skip
    gateway.run("systemctl is-active k3s.service containerd.service container-ssh.service")
    gateway.run(f"{EMPTY}; sync")
    gateway.until(f'[ "$({pressure})" = False ]', 900)
    last = received(gateway)[-1]
    gateway.until(f'[ "$(tail -n 1 {MESSAGES})" != "{last}" ]', 900)


def test_everything_comes_back_after_power_cuts(
    power: Switch, toolbox: Callable[[str], Toolbox], cache: Store, tmp_path: Path
) -> None:
    gateway = power.on()
    kept = wait_for_messages(gateway, 1)
    chance = random.Random(os.environ.get("EDGEIMG_TEST_SEED", "7"))
    for cut in range(CUTS):
        # Now early in the boot, now while pods start, now at work.
        moment = chance.uniform(0, 60)
        kept = received(gateway)  # and on the disk from here on
        gateway.run("sync")
        time.sleep(moment)
        gateway.kill()
        gateway = power()
        if cut % 3 == 2:
            gateway.kill()  # and once more, in the middle of mending
            gateway = power()
        lines = wait_for_messages(gateway, 1)
        assert lines[: len(kept)] == kept
    gateway.until("systemctl is-active k3s.service")
    gateway.run("systemctl stop k3s.service; sync")
    datastore = tmp_path / "state.bolt"
    text = gateway.run(f"gzip -c {DATASTORE} | base64", 300)
    datastore.write_bytes(unpacked(text))
    check = subprocess.run(
        [_k3s(cache), "check-datastore", datastore], capture_output=True, text=True, check=False
    )
    assert check.returncode == 0, check.stderr
    assert int(check.stdout.split()[1]) > 50


def unpacked(text: str) -> bytes:
    return gzip.decompress(base64.b64decode("".join(text.split())))


def _k3s(cache: Store) -> Path:
    """The stand-in's program for this host."""
    binary = compiled(tools.build_host(), cache)
    bundle = k3s.unpack(binary, tools.build_host(), cache, source="standin")
    program = kubernetes.kubectl(bundle, cache).with_name("k3s")
    if not program.exists():
        shutil.copy(program.with_name("kubectl"), program)
    return program
