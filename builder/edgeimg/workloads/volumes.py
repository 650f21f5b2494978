"""Volumes that manifests mount: inline ones of pods, PersistentVolumes and CSI drivers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from edgeimg.workloads import objects

_OF_KUBELET = frozenset(
    {"configMap", "downwardAPI", "emptyDir", "hostPath", "image", "local", "persistentVolumeClaim",
     "projected", "secret"}
)  # fmt: skip
"""Types for which the kubelet needs no other program."""
_TYPES = _OF_KUBELET | {
    "awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "ephemeral", "fc",
    "flexVolume", "flocker", "gcePersistentDisk", "gitRepo", "glusterfs", "iscsi", "nfs",
    "photonPersistentDisk", "portworxVolume", "quobyte", "rbd", "scaleIO", "storageos",
    "vsphereVolume",
}  # fmt: skip
"""Types of volumes (Kubernetes, core/v1 VolumeSource and PersistentVolumeSource)."""
_IN_TREE = "kubernetes.io/"
"""What provisioners of the kubelet's former own drivers begin with."""
_DEPLOYERS = {"longhorn-driver-deployer": "driver.longhorn.io"}
"""Deployments that register a driver when they run, without an object in their manifests."""
_VERSION_3 = re.compile(r"(nfs)?vers=3(\.0)?|v3")
"""NFS, protocol version 3 (nfs(5))."""
_NULL = "tag:yaml.org,2002:null"
_SOCKET = re.compile(r"/plugins/([^/\s]+)/csi[^/\s]*\.sock\b")


@dataclass(frozen=True, kw_only=True, order=True)
class Volume:
    """A kind of volume that a workload mounts."""

    type: str
    """As Kubernetes names it: `nfs`, `iscsi`, `csi`, …"""
    driver: str = ""
    """Of `csi` and `flexVolume`: the name of the driver."""

    locks: bool = False
    """Of `nfs`: mounted with version 3 and its locks, which need daemons on the client."""

    @property
    def name(self) -> str:
        """`nfs`, or `csi/smb.csi.k8s.io`."""
        return f"{self.type}/{self.driver}" if self.driver else self.type


def volumes(document: yaml.Node) -> Iterator[Volume]:
    """The volumes of a document that need more than the kubelet."""
    for node in objects.listed(document):
        yield from _below(node)
        fields = objects.fields(node)
        kind = objects.text(fields.get("kind"))
        if kind == "PersistentVolume":
            spec = fields.get("spec")
            yield from _volume(spec, locks=_locks(objects.fields(spec)))
        elif kind == "StorageClass":
            yield from _provisioned(_text(fields, "provisioner"), locks=_locks(fields))


def drivers(document: yaml.Node) -> Iterator[str]:
    """The names of the CSI drivers that a document brings.

    An object CSIDriver names one, and so does the socket of a node plugin in the arguments or
    the environment of a container: `/var/lib/kubelet/plugins/NAME/csi.sock`.
    """
    for node in objects.listed(document):
        fields = objects.fields(node)
        if objects.text(fields.get("kind")) == "CSIDriver":
            yield _text(objects.fields(fields.get("metadata")), "name")
        elif objects.text(fields.get("kind")) == "Deployment":
            name = _text(objects.fields(fields.get("metadata")), "name")
            if name in _DEPLOYERS:
                yield _DEPLOYERS[name]
        yield from _sockets(node)


def _locks(fields: dict[str, yaml.Node]) -> bool:
    """Whether the mount options are those of NFS version 3, and leave its locks on."""
    listed = fields.get("mountOptions")
    options = listed.value if isinstance(listed, yaml.SequenceNode) else []
    words = {word.strip() for item in options for word in objects.text(item).split(",")}
    return any(map(_VERSION_3.fullmatch, words)) and "nolock" not in words


def _provisioned(provisioner: str, *, locks: bool) -> Iterator[Volume]:
    """The volumes that a StorageClass makes. Names of CSI drivers are domains without a path."""
    if provisioner.startswith(_IN_TREE) and provisioner != f"{_IN_TREE}no-provisioner":
        yield Volume(type=provisioner)
    elif "/" not in provisioner and "." in provisioner:
        yield Volume(type="csi", driver=provisioner)
    elif locks:
        yield Volume(type="nfs", locks=True)


def _sockets(document: yaml.Node) -> Iterator[str]:
    for node in objects.descend(document):
        if isinstance(node, yaml.ScalarNode):
            yield from _SOCKET.findall(objects.text(node))


def _below(document: yaml.Node) -> Iterator[Volume]:
    """Those of the lists `volumes`, wherever they stand."""
    for node in objects.descend(document):
        listed = objects.fields(node).get("volumes")
        if isinstance(listed, yaml.SequenceNode):
            for item in listed.value:
                yield from _volume(item)


def _volume(node: yaml.Node | None, *, locks: bool = False) -> Iterator[Volume]:
    """The volume that an object describes: its field that is a type."""
    for key, value in objects.fields(node).items():
        if value.tag == _NULL:
            continue
        if key in ("csi", "flexVolume"):
            yield Volume(type=key, driver=_text(objects.fields(value), "driver"))
        elif key in _TYPES - _OF_KUBELET - {"ephemeral"}:
            yield Volume(type=key, locks=locks and key == "nfs")


def _text(fields: dict[str, yaml.Node], key: str) -> str:
    return objects.text(fields.get(key))
