"""K3s' components for names and volumes, and its network policies, started with the gateway.

They take a minute to compile and the guest up to a quarter of an hour to start, so it is asked for:
EDGEIMG_TEST_COMPONENTS=1. Needs Go.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace

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
        os.environ.get("EDGEIMG_TEST_COMPONENTS") != "1",
        reason="asked for with EDGEIMG_TEST_COMPONENTS=1",
    ),
]
RECIPE = """\
include = ["gateway.toml"]

[image]
id = "components"
architectures = ["x86-64"]

[budget]
download = "130 MiB"

[k3s]
source = "standin"
airgap = ["coredns", "local-storage"]

[k3s.config]
disable = ["!coredns", "!local-storage"]
disable-network-policy = false
"""
CLIENT = """\
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: data
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests:
      storage: 16Mi
---
apiVersion: v1
kind: Service
metadata:
  name: page  # a pod's own name leads to itself, by /etc/hosts
spec:
  selector:
    app: hello
  ports:
    - port: 80
      targetPort: 8080
---
apiVersion: v1
kind: Pod
metadata:
  name: hello
  labels:
    app: hello
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: hello
      image: localhost/edgeimg/hello:1
      imagePullPolicy: Never
      volumeMounts:
        - name: data
          mountPath: /data
  volumes:
    - name: data
      persistentVolumeClaim:
        claimName: data
"""
DENY_ALL = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: deny-all
spec:
  podSelector: {}
  policyTypes: [Ingress]
"""
OPTIONS = replace(gateways.OPTIONS, memory=1024)
"""With 512 MiB, an emulated guest on a busy host swaps so much at its start that requests to the
API run out of time (docs/reference/measurements.md)."""
SECONDS = X86_64.qemu.boot_seconds
INSIDE = "kubectl exec hello -- busybox"
FOLDER = "/var/lib/rancher/k3s/storage"


@pytest.fixture(scope="module")
def gateway(
    cache: Store, toolbox: Callable[[str], Toolbox], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    root = tmp_path_factory.mktemp("components")
    key = gateways.project(root)
    (root / "recipes/components.toml").write_text(RECIPE)
    shutil.copy(root / "recipes/gateway.lock.toml", root / "recipes/components.lock.toml")
    edgeimg(root, "lock", "-r", "recipes/components.toml")
    raw = raw_image(built(root, X86_64, "-r", "recipes/components.toml"), cache)
    console = PROJECT / "out/test/components.log"
    with booted(raw, key, toolbox=toolbox("qemu"), console=console, options=OPTIONS) as running:
        running.until("kubectl get serviceaccount default", SECONDS)
        running.until(f"kubectl apply -f - << 'EOF'\n{CLIENT}EOF", SECONDS)
        running.until("kubectl get pod hello | grep Running", SECONDS)
        yield running


def test_a_pod_finds_services_by_their_names(gateway: Gateway) -> None:
    gateway.until("kubectl -n kube-system rollout status deployment coredns --timeout=60s", SECONDS)
    page = gateway.until(f"{INSIDE} wget -q -T 10 -O - http://page/")
    assert page == "edgeimg hello\n"
    name = "kubernetes.default.svc.cluster.local"
    found = gateway.until(f"{INSIDE} nslookup {name} | grep -A 3 'Name:.*{name}'")
    assert "10.43.0.1" in found


def test_a_policy_denies_and_stops_denying_when_removed(gateway: Gateway) -> None:
    address = gateway.run("kubectl get pod hello -o jsonpath={.status.podIP}")
    other = f"kubectl exec edgeimg-hello -- busybox wget -q -T 10 -O - http://{address}:8080/"
    assert gateway.until(other) == "edgeimg hello\n"
    gateway.until(f"kubectl apply -f - << 'EOF'\n{DENY_ALL}EOF")
    gateway.until(f"{other} 2>&1 | grep 'timed out'")
    node = gateway.run(f"busybox wget -q -T 20 -O - http://{address}:8080/")
    assert node == "edgeimg hello\n"  # as the kubelet's probes
    gateway.until("kubectl delete networkpolicy deny-all --ignore-not-found")
    assert gateway.until(other) == "edgeimg hello\n"


def test_a_claim_is_bound_to_a_folder_of_the_data_partition(gateway: Gateway) -> None:
    claim = gateway.run("kubectl get pvc data -o jsonpath={.status.phase}/{.spec.storageClassName}")
    assert claim == "Bound/local-path"
    gateway.run(f"{INSIDE} sh -c 'echo kept > /data/file'")
    (path,) = gateway.run(f"ls {FOLDER}/*_default_data/file").split()
    gateway.restart(SECONDS / 2)
    assert gateway.until(f"{INSIDE} cat /data/file", SECONDS) == "kept\n"
    gateway.until("kubectl delete pod hello --ignore-not-found", SECONDS)
    gateway.until("kubectl delete pvc data --ignore-not-found", SECONDS)
    gateway.until(f"! [ -e {path} ]")


def test_components_that_are_disabled_are_deleted(gateway: Gateway) -> None:
    gateway.run(
        """sed 's/"disable": \\[/& "coredns,local-storage",/' /etc/rancher/k3s/config.yaml"""
        " > /run/off.yaml"
        " && grep -q coredns /run/off.yaml"
        " && mount --bind /run/off.yaml /etc/rancher/k3s/config.yaml"
        " && systemctl restart k3s.service",
        timeout=600,
    )
    gateway.until("! kubectl -n kube-system get service kube-dns 2> /dev/null", 300)
    gateway.until("kubectl get storageclass 2>&1 | grep 'No resources'")
    # The garbage collector deletes the pods of a Deployment that is gone, at its leisure.
    gateway.until("! kubectl -n kube-system get pods -o name | grep .", SECONDS)
