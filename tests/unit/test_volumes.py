"""Volumes of manifests: found wherever pods and PersistentVolumes have them, and judged."""

from __future__ import annotations

import pytest
from edgeimg.check import volumes as checks
from edgeimg.tree import Tree, file
from edgeimg.workloads import manifests
from edgeimg.workloads.volumes import Volume

from tests import clean

NFS = "{server: 192.0.2.9, path: /x}"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [], volumes: [VOLUMES]}\n"
PV = "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: x}\nspec: SPEC\n"
CLASS = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: x}\nprovisioner: "
DRIVER = "apiVersion: storage.k8s.io/v1\nkind: CSIDriver\nmetadata: {name: smb.csi.k8s.io}\n"
DEPLOYMENT = (
    "apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {volumes: [{name: a, nfs: "
    f"{NFS}}}]}}}}}}\n"
)
SMB = Volume(type="csi", driver="smb.csi.k8s.io")


def pod(volume: str) -> str:
    return POD.replace("VOLUMES", volume)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (pod("{name: a, emptyDir: {}}, {name: b, hostPath: {path: /x}}"), []),
        (pod("{name: a, persistentVolumeClaim: {claimName: x}}"), []),
        (pod("{name: nfs, secret: {secretName: iscsi}}"), []),  # names are no types
        (pod(f"{{name: a, nfs: {NFS}}}"), [Volume(type="nfs")]),
        (pod(f"{{name: a, nfs: {NFS}}}, {{name: b, nfs: {NFS}}}"), [Volume(type="nfs")]),
        (pod("{name: a, iscsi: {targetPortal: x}}"), [Volume(type="iscsi")]),
        (pod("{name: a, rbd: {image: x}}"), [Volume(type="rbd")]),
        (pod("{name: a, csi: {driver: smb.csi.k8s.io}}"), [SMB]),
        (
            pod("{name: a, flexVolume: {driver: fstab/cifs}}"),
            [Volume(type="flexVolume", driver="fstab/cifs")],
        ),
        (DEPLOYMENT, [Volume(type="nfs")]),
        ("apiVersion: v1\nkind: List\nitems:\n- " + DEPLOYMENT.replace("\n", "\n  "),
         [Volume(type="nfs")]),
        (PV.replace("SPEC", f"{{nfs: {NFS}}}"), [Volume(type="nfs")]),
        (PV.replace("SPEC", "{local: {path: /x}, accessModes: [ReadWriteOnce]}"), []),
        (PV.replace("SPEC", "{csi: {driver: smb.csi.k8s.io, volumeHandle: x}}"), [SMB]),
        (f"{CLASS}smb.csi.k8s.io\n", [SMB]),
        (f"{CLASS}driver.longhorn.io\n", [Volume(type="csi", driver="driver.longhorn.io")]),
        (f"{CLASS}kubernetes.io/rbd\n", [Volume(type="kubernetes.io/rbd")]),
        (f"{CLASS}rancher.io/local-path\n", []),
        (pod("{name: a, gitRepo: {repository: x}}"), [Volume(type="gitRepo")]),
        (pod("{name: a, emptyDir: {}, nfs: null}"), []),
        (f"{CLASS}kubernetes.io/no-provisioner\n", []),
    ],
)  # fmt: skip
def test_volumes_of_a_manifest(text: str, expected: list[Volume]) -> None:
    assert list(manifests.join("w", {"a.yaml": text}, ()).volumes) == expected


def test_drivers_that_a_manifest_registers() -> None:
    assert manifests.join("w", {"a.yaml": DRIVER}, ()).drivers == {"smb.csi.k8s.io"}


def test_the_socket_of_a_node_plugin_names_its_driver() -> None:
    socket = "--kubelet-registration-path=/var/lib/kubelet/plugins/a.csi.example.org/csi.sock"
    container = f"{{name: x, image: 'y:1', args: ['{socket}']}}"
    text = POD.replace("containers: []", f"containers: [{container}]").replace("VOLUMES", "")
    found = manifests.join("w", {"a.yaml": text}, ("docker.io/library/y:1",)).drivers
    assert found == {"a.csi.example.org"}


def findings(
    volume: Volume, *, drivers: tuple[str, ...] = (), files: tuple[str, ...] = ()
) -> list[str]:
    root = Tree().with_nodes({name: file(b"") for name in files})
    return [str(f) for f in checks.check({"w": [volume]}, drivers, root, clean.kernel())]


MODULES = f"{clean.MODULES}/fs/nfs"
NFS_FILES = ("usr/sbin/mount.nfs", f"{MODULES}/nfs.ko", f"{MODULES}/nfsv4.ko")


@pytest.mark.parametrize("gone", NFS_FILES)
def test_a_missing_part_names_the_include(gone: str) -> None:
    nfs = Volume(type="nfs")
    assert findings(nfs, files=NFS_FILES) == []
    (found,) = findings(nfs, files=tuple(name for name in NFS_FILES if name != gone))
    assert gone.rpartition("/")[2].removesuffix(".ko") in found
    assert '"nfs-common" to [packages] include and "nfs", "nfsv4" to [kernel] modules' in found


def test_a_csi_driver_is_registered_and_its_kernel_module_is_there() -> None:
    module = (f"{clean.MODULES}/fs/smb/client/cifs.ko",)
    registered = ("smb.csi.k8s.io",)
    assert findings(SMB, drivers=registered, files=module) == []
    assert "no workload registers" in findings(SMB, files=module)[0]
    assert 'add "cifs" to [kernel] modules' in findings(SMB, drivers=registered)[0]
    assert findings(Volume(type="csi", driver="a.b"), drivers=("a.b",)) == []
    assert len(findings(Volume(type="csi", driver="a.b"))) == 1


def test_a_type_without_a_driver_is_a_finding() -> None:
    assert len(findings(Volume(type="glusterfs"))) == 1
