"""Several gateways that run at once and are one cluster."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from edgeimg.arch import Arch

from tests.gateway import PROJECT, Gateway

ALL = os.environ.get("EDGEIMG_TEST_CLUSTER") == "all"
"""One gateway of each architecture."""
PATIENCE = 1800 if ALL else 600
"""Seconds for anything that takes several steps of several guests."""
KUBECTL = "KUBECONFIG=/etc/rancher/k3s/k3s.yaml KUBECACHEDIR=/run/edgeimg/kubectl kubectl"
DAEMONSET = """
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 1
      containers:
        - name: hello
          image: localhost/edgeimg/hello:1
          imagePullPolicy: Never
          command: [sh, -c, "echo $NODE > /www/node; exec busybox httpd -f -p 8080 -h /www"]
          env: [{name: NODE, valueFrom: {fieldRef: {fieldPath: spec.nodeName}}}]
          readinessProbe: {httpGet: {path: /node, port: 8080}, timeoutSeconds: 5}
          volumeMounts: [{name: www, mountPath: /www}]
          resources: {limits: {memory: 16Mi}}
      volumes: [{name: www, emptyDir: {}}]
"""


class Named(Protocol):
    @property
    def name(self) -> str: ...


M = TypeVar("M", bound=Named)


@dataclass(frozen=True)
class Cluster(Generic[M]):
    members: Sequence[M]
    gateways: tuple[Gateway, ...]

    @property
    def server(self) -> Gateway:
        return self.gateways[0]

    def kubectl(self, arguments: str, seconds: float = PATIENCE) -> str:
        return self.server.until(f"{KUBECTL} {arguments}", seconds)

    def until(self, true: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not true():
            assert time.monotonic() < deadline, what + "\n" + self.kubectl("get nodes,pods -o wide")
            time.sleep(2)

    def ready(self) -> bool:
        """All nodes are there and Ready."""
        query = "jsonpath='{range .items[*]}{.metadata.name}="
        query += '{.status.conditions[?(@.type=="Ready")].status}{"\\n"}{end}\''
        told = self.kubectl(f"get nodes -o {query}").split()
        return sorted(told) == sorted(f"{member.name}=True" for member in self.members)

    def leases(self) -> list[str]:
        """When each node was last heard of."""
        query = "jsonpath='{.items[*].spec.renewTime}'"
        return self.kubectl(f"get lease -n kube-node-lease -o {query}").split()

    def pods(self) -> dict[str, tuple[str, str]]:
        """Name and address of the ready pod of each node."""
        told = json.loads(self.kubectl("get pods -l app=everywhere -o json"))["items"]
        return {
            pod["spec"]["nodeName"]: (pod["metadata"]["name"], pod["status"].get("podIP", ""))
            for pod in told
            if any(c["type"] == "Ready" and c["status"] == "True"
                   for c in pod["status"].get("conditions", ()))
        }  # fmt: skip

    def pods_reach_each_other(self) -> None:
        self.until(lambda: len(self.pods()) == len(self.members), "no pod on each node")
        pods = self.pods()
        for node, (name, _) in pods.items():
            others = {other: ip for other, (_, ip) in pods.items() if other != node}
            ask = "; ".join(f"busybox wget -q -T 10 -O - http://{ip}:8080/node || exit 1"
                            for ip in others.values())  # fmt: skip
            told = self.kubectl(f"exec {name} -- sh -c '{ask}'", 300)
            assert told.split() == list(others), f"from {node}"


def image(arch: Arch) -> Path:
    done = subprocess.run(
        [shutil.which("edgeimg") or "edgeimg", "build", "-a", arch.name, "--k3s", "standin",
         "-o", PROJECT / "out/test", "--json"],
        cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return Path(json.loads(done.stdout)["images"][0]["image"])


class Stopwatch:
    """Prints when something came true, in seconds since the gateways could be logged in to."""

    def __init__(self) -> None:
        self.began = time.monotonic()

    def say(self, what: str) -> None:
        print(f"{time.monotonic() - self.began:.0f} s: {what}", flush=True)
