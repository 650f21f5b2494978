"""The stand-in's packaged components, by its API server alone: K3s' names, K3s' `disable`."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edgeimg import tools
from edgeimg.cache.store import Store

from tests.gateway import free_port
from tests.standin import compiled

pytestmark = pytest.mark.integration
SECONDS = 240
ROLE = "standin-network-policy"
Kubectl = Callable[..., str]
NAMES = {
    "deployment.apps/coredns", "deployment.apps/local-path-provisioner", "service/kube-dns",
    "configmap/coredns", "configmap/local-path-config",
    "serviceaccount/coredns", "serviceaccount/local-path-provisioner-service-account",
}  # fmt: skip


@pytest.fixture(scope="module")
def binary(cache: Store) -> Path:
    return compiled(tools.build_host(), cache)


@contextlib.contextmanager
def served(binary: Path, root: Path, *options: str) -> Iterator[Kubectl]:
    """A server without a node; its kubectl."""
    data, kubeconfig, port = root / "data", root / "kubeconfig", free_port()
    argv = [
        binary, "server", "--disable-agent", "--config", os.devnull, "--data-dir", data,
        "--node-ip", "127.0.0.1", "--https-listen-port", str(port),
        "--write-kubeconfig", kubeconfig, *options,
    ]  # fmt: skip

    def kubectl(*arguments: str) -> str:
        program = data / "data/current/bin/k3s"
        command = [program, "kubectl", "--kubeconfig", kubeconfig, *arguments]
        if not program.exists() or not kubeconfig.exists():  # it unpacks itself first
            return ""
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    with (root / "log").open("wb") as log, subprocess.Popen(argv, stderr=log) as server:
        try:
            yield kubectl
        finally:
            server.terminate()
            server.wait(60)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(1)


def deployed(kubectl: Kubectl) -> set[str]:
    kinds = "deployments,services,configmaps,serviceaccounts"
    return set(kubectl("get", kinds, "-n", "kube-system", "-o", "name").split())


def test_components_are_deployed_and_deleted_by_disable(binary: Path, tmp_path: Path) -> None:
    manifests = tmp_path / "data/server/manifests"
    with served(binary, tmp_path, "--disable", "traefik") as kubectl:
        until(lambda: deployed(kubectl) >= NAMES)
        until(lambda: ROLE in kubectl("get", "clusterroles", "-o", "name"))
        address = "jsonpath={.spec.clusterIP}"
        assert kubectl("get", "service", "-n", "kube-system", "kube-dns", "-o", address) == (
            "10.43.0.10"
        )
        until(lambda: "local-path (default)" in kubectl("get", "storageclasses"))
    options = ("--disable", "coredns,traefik", "--disable-network-policy")
    with served(binary, tmp_path, *options) as kubectl:
        until(lambda: not any("dns" in name for name in deployed(kubectl) or ["dns"]))
        until(lambda: ROLE not in (kubectl("get", "clusterroles", "-o", "name") or ROLE))
        assert deployed(kubectl) >= {name for name in NAMES if "dns" not in name}
    assert [path.name for path in manifests.glob("*.yaml")] == ["local-storage.yaml"]
