"""Names in a cluster: CoreDNS (tests/dns) as a workload, found by a pod by its default settings.

CoreDNS takes minutes to compile, so it is asked for: EDGEIMG_TEST_DNS=1. Needs Go.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edgeimg.arch import X86_64
from edgeimg.cache.store import Store
from edgeimg.tools import Toolbox
from edgeimg.vm.disk import raw_image

from tests import gateway as gateways
from tests.gateway import PROJECT, Gateway, booted, built, edgeimg

pytestmark = [
    pytest.mark.boot,
    pytest.mark.skipif(not shutil.which("ssh"), reason="no ssh: apt install openssh-client"),
    pytest.mark.skipif(
        os.environ.get("EDGEIMG_TEST_DNS") != "1", reason="asked for with EDGEIMG_TEST_DNS=1"
    ),
]
SOURCES = PROJECT / "tests/dns"
RECIPE = '''\
include = ["gateway.toml"]

[image]
id = "names"
architectures = ["x86-64"]

[budget]
download = "160 MiB"

[workloads.dns]
manifests = "dns"

[workloads.dns.images."localhost/edgeimg/coredns:1"]
binary = "coredns-{arch}"

[workloads.dns.images."localhost/edgeimg/client:1"]
packages = ["busybox"]
command = ["busybox", "sh", "-c", """
until busybox wget -q -T 10 -O - http://hello/; do busybox sleep 1; done
until busybox nslookup kubernetes.default.svc.cluster.local; do busybox sleep 1; done
exec busybox sleep 1000000
"""]
'''


@pytest.fixture(scope="module")
def gateway(
    cache: Store, toolbox: Callable[[str], Toolbox], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("names")
    key = gateways.project(root)
    compile_coredns(root / "coredns-x86-64")
    (root / "dns").mkdir()
    for manifest in SOURCES.glob("*.yaml"):
        shutil.copy(manifest, root / "dns")
    (root / "recipes/names.toml").write_text(RECIPE)
    shutil.copy(root / "recipes/gateway.lock.toml", root / "recipes/names.lock.toml")
    edgeimg(root, "lock", "-r", "recipes/names.toml")
    raw = raw_image(built(root, X86_64, "-r", "recipes/names.toml"), cache)
    console = PROJECT / "out/test/names.log"
    with booted(raw, key, toolbox=toolbox("qemu"), console=console) as running:
        yield running


def compile_coredns(output: Path) -> None:
    environment = {**os.environ, "CGO_ENABLED": "0", "GOARCH": X86_64.goarch, "GOFLAGS": ""}
    subprocess.run(
        ["go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s", "-o", output],
        cwd=SOURCES, env=environment, check=True,
    )  # fmt: skip


def test_a_pod_finds_a_service_by_its_name(gateway: Gateway) -> None:
    gateway.until("kubectl -n kube-system rollout status deployment coredns --timeout=10s", 600)
    address = gateway.until("kubectl get pod hello -o jsonpath={.status.podIP} | grep .").strip()
    greeting = gateway.until(f"wget -q -O - http://{address}:8080/").strip()
    name = "kubernetes.default.svc.cluster.local"
    gateway.until(f"kubectl logs client | grep -A 3 'Name:.*{name}' | grep ' 10[.]43[.]0[.]1$'")
    assert greeting
    assert greeting in gateway.run("kubectl logs client")
