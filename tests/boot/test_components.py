"""K3s' components for names and volumes, started with the gateway: CoreDNS and local-path.

They take a minute to compile and the guest several to start, so it is asked for:
EDGEIMG_TEST_COMPONENTS=1. Needs Go.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator

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
  name: hello
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
    with booted(raw, key, toolbox=toolbox("qemu"), console=console) as running:
        running.until("kubectl get serviceaccount default", 600)
        running.run(f"kubectl apply -f - << 'EOF'\n{CLIENT}EOF")
        running.until("kubectl get pod hello | grep Running", 900)
        yield running


def test_a_pod_finds_services_by_their_names(gateway: Gateway) -> None:
    gateway.run("kubectl -n kube-system rollout status deployment coredns --timeout=100s")
    page = gateway.until(f"{INSIDE} wget -q -T 10 -O - http://hello/")
    assert page == "edgeimg hello\n"
    name = "kubernetes.default.svc.cluster.local"
    found = gateway.until(f"{INSIDE} nslookup {name} | grep -A 3 'Name:.*{name}'")
    assert "10.43.0.1" in found


def test_a_claim_is_bound_to_a_folder_of_the_data_partition(gateway: Gateway) -> None:
    claim = gateway.run("kubectl get pvc data -o jsonpath={.status.phase}/{.spec.storageClassName}")
    assert claim == "Bound/local-path"
    gateway.run(f"{INSIDE} sh -c 'echo kept > /data/file'")
    (path,) = gateway.run(f"ls {FOLDER}/*_default_data/file").split()
    assert gateway.run(f"cat {path}") == "kept\n"
    gateway.run("kubectl delete pod hello")
    gateway.run("kubectl delete pvc data")
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
    gateway.until("[ \"$(kubectl -n kube-system get pods -o name)\" = '' ]")
