"""Defects to plant in a root file system, each with the one finding that must come of it."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any

from edgeimg.arch import ARM, ARM64, X86_64, Arch
from edgeimg.check.containers import Absent
from edgeimg.recipe.tables import Budget, Check
from edgeimg.sources import oci
from edgeimg.sources.deb import Deb
from edgeimg.tree import Node, Tree, file, replace
from edgeimg.workloads.operators import Unseen
from edgeimg.workloads.volumes import Volume

from tests import clean, keys
from tests.samples import elf

CONFIG = f"boot/config-{clean.VERSION}"


@dataclass(frozen=True, kw_only=True)
class Defect:
    """What is planted, and what the finding must say."""

    rule: str
    path: str
    item: str = ""
    arch: Arch = X86_64
    files: dict[str, Node] = field(default_factory=dict)
    gone: str = ""
    kernel: dict[str, str] = field(default_factory=dict)
    initrd: frozenset[str] = clean.INITRD
    recipe: dict[str, Any] = field(default_factory=dict)
    absent: Absent = field(default_factory=Absent)
    packages: tuple[Deb, ...] = ()
    listening: tuple[str, ...] = ()
    sizes: dict[str, int] = field(default_factory=dict)


def program(arch: Arch = X86_64, **options: Any) -> Node:
    return file(elf(arch, **{"interpreter": arch.loader} | options), mode=0o755)


def planted(path: str, node: Node, rule: str, **more: Any) -> Defect:
    return Defect(rule=rule, path=path, files={path: node}, **more)


def image(name: str, node: Node) -> Node:
    config = oci.ImageConfig(entrypoint=("/x",))
    made = oci.ContainerImage(name="x", tree=Tree().with_nodes({name: node}), run=config.to_json())
    return file(oci.archive([made], X86_64, 0).data)


def deb(name: str, licence_question: str) -> Deb:
    return Deb(
        control={"Package": name, "Version": "1"}, control_text="", conffiles=(), md5sums="",
        licence_question=licence_question, sha256="", tree=Tree(),
    )  # fmt: skip


NET_RAW = struct.pack("<IIIII", 0x0200_0001, 1 << 13, 0, 0, 0)
KEY = keys.pem(keys.pkcs8())
SSH_KEY = keys.pem(keys.openssh(), "OPENSSH PRIVATE KEY")
IMAGES = "usr/share/edgeimg/images/service.tar"
VETH = f"{clean.MODULES}/drivers/net/veth.ko"
SYSCTL = "usr/lib/sysctl.d/90-mine.conf"
UNIT = "usr/lib/systemd/system/mine.service"
KUBECONFIG = b"kind: Config\nusers:\n- name: a\n  user:\n    token: swordfish\n"

PRIVILEGED = {"packages": ["xz"], "command": ["xz"], "capabilities": ["CAP_SYS_ADMIN"]}

DEFECTS = {
    "a service that may mount": Defect(
        rule="privileged-service",
        path="services.x",
        recipe={"services": {"x": PRIVILEGED}},
    ),
    "foreign architecture": planted("usr/bin/x", program(ARM64), "architecture"),
    "soft float": planted("usr/bin/x", program(ARM, flags=0x0500_0200), "abi", arch=ARM),
    "missing interpreter": planted("usr/bin/x", program(interpreter="/lib/ld-x"), "interpreter"),
    "missing library": planted(
        "usr/bin/x", program(needed=["libgone.so.1"]), "library", item="libgone.so.1"
    ),
    "damaged program": planted(
        "usr/bin/x", file(b"\x7fELF\x09" + bytes(100)), "damaged-program"
    ),
    "fixed address": planted("usr/bin/x", program(pie=False), "no-pie"),
    "no RELRO": planted("usr/bin/x", program(relro=False), "no-relro"),
    "executable stack": planted("usr/bin/x", program(stack=7), "executable-stack"),
    "text relocations": planted("usr/bin/x", program(text_relocations=True), "text-relocations"),
    "RPATH": planted("usr/bin/x", program(rpath="/home/me/lib"), "search-path"),
    "no stack protector": planted(
        "usr/bin/x", program(symbols=["strcpy"]), "no-stack-protector"
    ),
    "set-user-ID shell": planted("usr/bin/x", file(b"#!/bin/sh\n", mode=0o4755), "setuid"),
    "set-group-ID program": planted("usr/bin/x", file(b"#!/bin/sh\n", mode=0o2755), "setgid"),
    "world-writable file": planted("etc/x", file(b"x", mode=0o666), "world-writable"),
    "capabilities": planted(
        "usr/bin/x", replace(file(b"x"), xattrs=(("security.capability", NET_RAW),)), "capability"
    ),
    "TLS key": planted("etc/ssl/private/server.key", file(KEY), "private-key"),
    "SSH host key": planted("etc/ssh/ssh_host_ed25519_key", file(SSH_KEY), "private-key"),
    "key in a program": planted(
        "usr/bin/x", file(elf(X86_64, interpreter=X86_64.loader) + KEY), "private-key"
    ),
    "password": planted(
        "etc/shadow", file(f"root:{keys.sha512crypt()}:::::::\n".encode()), "password-hash"
    ),
    "no password": planted("etc/shadow", file(b"root::::::::\n"), "password-hash"),
    "htpasswd": planted(
        "var/www/.htpasswd", file(f"a:$apr1$s${keys.base64_text('a', 22)}\n".encode()),
        "password-hash",
    ),
    "K3s token": planted(
        "etc/rancher/k3s/config.yaml", file(f"token: {keys.k3s_token()}\n".encode()), "token"
    ),
    "kubeconfig": planted("root/.kube/config", file(KUBECONFIG), "token"),
    "AWS key": planted("root/.aws/credentials", file(f"k = {keys.aws_key()}\n".encode()), "token"),
    "token on the command line": Defect(
        rule="token", path="kernel.cmdline",
        recipe={"kernel": {"cmdline": ["quiet", f"k3s={keys.k3s_token()}"]}},
    ),
    "kernel option": Defect(
        rule="kernel-option", path=CONFIG, item="CONFIG_CGROUP_PIDS", kernel={"CGROUP_PIDS": "n"}
    ),
    "kernel module": Defect(rule="kernel-module", path=VETH, gone=VETH),
    "module of the initrd": Defect(
        rule="kernel-module", path=f"initrd/{clean.MODULES}/fs/erofs/erofs.ko", initrd=frozenset()
    ),
    "kernel parameter": planted(
        SYSCTL, file(b"kernel.kptr_restrict=0\n"), "sysctl", item="kernel.kptr_restrict"
    ),
    "service without a sandbox": planted(
        UNIT, file(b"[Service]\nExecStart=/usr/bin/tool\n"), "unit-exposure", item="mine.service"
    ),
    "a device of a container image": Defect(
        rule="left-out-device", path="services.x", item="x",
        absent=Absent(devices={("services.x", "x"): ("dev/null", "dev/zero")}),
    ),
    "an operator": Defect(
        rule="unseen-images", path="workloads.w.images", item="Prometheus.monitoring.coreos.com",
        absent=Absent(unseen={"w": [Unseen(kind="Prometheus.monitoring.coreos.com")]}),
    ),
    "a chart": Defect(
        rule="chart-download", path="workloads.w.manifests", item="HelmChart.helm.cattle.io/x",
        absent=Absent(unseen={"w": [Unseen(kind="HelmChart.helm.cattle.io/x", chart="x")]}),
    ),
    "a volume of a file server": Defect(
        rule="volume-type", path="workloads.w.manifests", item="nfs",
        absent=Absent(volumes={"w": [Volume(type="nfs")]}),
    ),
    "a licence to accept": Defect(
        rule="licence-terms", path="packages", item="firmware-x",
        packages=(deb("firmware-x", "Do you agree?"), deb("firmware-free", "")),
    ),
    "open port": Defect(
        rule="listening", path="check.listening", item="8080/tcp", listening=("tcp6 [::]:8080",)
    ),
    "budget": Defect(
        rule="budget", path="budget.root", recipe={"budget": Budget(root=1000)},
        sizes={"root": 1001},
    ),
    "stale exception": Defect(
        rule="unused-accept", path="check.accept", item="setuid:usr/bin/gone",
        recipe={"check": Check(accept=("setuid:usr/bin/gone",))},
    ),
}  # fmt: skip
