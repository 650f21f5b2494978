"""Volumes of manifests: found wherever pods and PersistentVolumes have them, and judged."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from edgeimg.check import volumes
from edgeimg.compose.prune import prune
from edgeimg.recipe.file import load
from edgeimg.tree import Tree, file
from edgeimg.workloads import manifests
from edgeimg.workloads.volumes import Volume

from tests import clean
from tests.shell_files import ROOT

NAME = ROOT / "overlays/iscsi/usr/lib/edgeimg/iscsi-name"
MOUNTS = tomllib.loads((ROOT / "builder/edgeimg/check/volumes.toml").read_text())["mounts"]
MOVED = tomllib.loads((ROOT / "builder/edgeimg/check/volumes.toml").read_text())["moved"]
PACKAGES = {"mount.nfs": "nfs-common", "iscsiadm": "open-iscsi"}
NFS = "{server: 192.0.2.9, path: /x}"
POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [], volumes: [VOLUMES]}\n"
PV = "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: x}\nspec: SPEC\n"
CLASS = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: x}\nprovisioner: "
DRIVER = "apiVersion: storage.k8s.io/v1\nkind: CSIDriver\nmetadata: {name: smb.csi.k8s.io}\n"
DEPLOYMENT = (
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x}\n"
    f"spec: {{template: {{spec: {{volumes: [{{name: a, nfs: {NFS}}}]}}}}}}\n"
)
LOCKS = Volume(type="nfs", locks=True)
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
        (f"{CLASS}x/nfs\nmountOptions: [hard, nfsvers=3]\n", [LOCKS]),
        (f"{CLASS}x/nfs\nmountOptions: [hard, nfsvers=4.1]\n", []),
        (PV.replace("SPEC", f"{{nfs: {NFS}, mountOptions: [nfsvers=3]}}"), [LOCKS]),
        (PV.replace("SPEC", f"{{nfs: {NFS}, mountOptions: ['vers=3,hard']}}"), [LOCKS]),
        (PV.replace("SPEC", f"{{nfs: {NFS}, mountOptions: [nfsvers=3, nolock]}}"),
         [Volume(type="nfs")]),
        (PV.replace("SPEC", f"{{nfs: {NFS}, mountOptions: [vers=4]}}"), [Volume(type="nfs")]),
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
    return [str(f) for f in volumes.check({"w": [volume]}, drivers, root, clean.kernel())]


MODULES = f"{clean.MODULES}/fs/nfs"
NFS_FILES = ("usr/sbin/mount.nfs", f"{MODULES}/nfs.ko", f"{MODULES}/nfsv4.ko")


@pytest.mark.parametrize("gone", NFS_FILES)
def test_a_missing_part_names_the_include(gone: str) -> None:
    nfs = Volume(type="nfs")
    assert findings(nfs, files=NFS_FILES) == []
    (found,) = findings(nfs, files=tuple(name for name in NFS_FILES if name != gone))
    assert gone.rpartition("/")[2].removesuffix(".ko") in found
    assert 'add "edgeimg:nfs" to include' in found


@pytest.mark.parametrize("name", MOUNTS)
def test_the_include_brings_what_the_check_misses(name: str) -> None:
    need = MOUNTS[name]
    kind, _, driver = name.partition("/")
    (line,) = findings(Volume(type=kind, driver=driver), drivers=(driver,))
    assert f'"edgeimg:{need["include"]}"' in line
    recipe = load(ROOT / f"recipes/{need['include']}.toml").recipe
    assert set(need["modules"]) <= set(recipe.kernel.modules)
    program = need.get("program")
    assert program is None or PACKAGES[program] in recipe.packages.include
    place = f"usr/sbin/{program}"
    assert place in prune(Tree().with_nodes({place: file(b"")}), recipe.packages.prune)


@pytest.mark.parametrize("name", ["nfs", "cifs", "iscsi", "usb-storage"])
def test_includes_for_storage_are_recipes_on_the_default_one(name: str, tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    top = tmp_path / "recipes/top.toml"
    top.write_text(f'include = ["edgeimg:gateway", "edgeimg:{name}"]\n')
    recipe, default = load(top).recipe, load(ROOT / "recipes/gateway.toml").recipe
    assert set(recipe.kernel.modules) > set(default.kernel.modules)
    assert set(recipe.packages.include) >= set(default.packages.include)
    # Neither what the default root has, nor what other includes and their libraries load.
    added = set(recipe.packages.exclude) - set(default.packages.exclude)
    locked = tomllib.loads((ROOT / "recipes/gateway.lock.toml").read_text())["image"]
    for arch in recipe.archs:
        assert added.isdisjoint(locked[arch.name]["packages"]["root"])
    assert added.isdisjoint({"libcurl4t64", "libldap2", "libsasl2-2", "libgssapi-krb5-2"})


def test_a_csi_driver_is_registered_and_its_kernel_module_is_there() -> None:
    module = (f"{clean.MODULES}/fs/smb/client/cifs.ko",)
    registered = ("smb.csi.k8s.io",)
    assert findings(SMB, drivers=registered, files=module) == []
    (line,) = findings(SMB, files=module)
    assert "no workload registers" in line
    # A driver from elsewhere may be accepted; that does not hide the module.
    unknown, lacks = volumes.check({"w": [SMB]}, (), Tree(), clean.kernel())
    assert "no workload registers" in str(unknown)
    assert "lacks the kernel module cifs" in str(lacks)
    assert (unknown.item, lacks.item) == ("csi/smb.csi.k8s.io", "csi/smb.csi.k8s.io/root")
    assert 'add "edgeimg:cifs" to include' in findings(SMB, drivers=registered)[0]
    assert findings(Volume(type="csi", driver="a.b"), drivers=("a.b",)) == []
    assert len(findings(Volume(type="csi", driver="a.b"))) == 1


LONGHORN = Volume(type="csi", driver="driver.longhorn.io")


def test_longhorn_is_known_and_its_needs_are_named() -> None:
    text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: longhorn-driver-deployer}\n"
    drivers = tuple(manifests.join("w", {"a.yaml": text}, ()).drivers)
    assert drivers == (LONGHORN.driver,)
    (line,) = findings(LONGHORN, drivers=drivers)
    assert "the program iscsiadm, the kernel module iscsi_tcp" in line
    assert (
        'add "edgeimg:iscsi" to include, and "edgeimg:nfs" for volumes with ReadWriteMany' in line
    )
    files = ("usr/sbin/iscsiadm", f"{clean.MODULES}/drivers/scsi/iscsi_tcp.ko")
    assert findings(LONGHORN, drivers=drivers, files=files) == []


@pytest.mark.parametrize(("kind", "driver"), MOVED.items())
def test_a_type_that_was_moved_to_csi_needs_that_driver(kind: str, driver: str) -> None:
    (line,) = findings(Volume(type=kind))
    assert f"no workload registers the CSI driver {driver}, which replaces it" in line
    assert findings(Volume(type=kind), drivers=(driver,)) == []


def test_locks_of_nfs_3_need_a_daemon() -> None:
    (line,) = findings(LOCKS, files=NFS_FILES)
    assert "rpc.statd" in line
    assert "use nfsvers=4 in mountOptions, or add nolock" in line
    assert findings(LOCKS, files=(*NFS_FILES, "usr/sbin/rpc.statd")) == []


def test_a_type_without_a_driver_is_a_finding() -> None:
    assert len(findings(Volume(type="glusterfs"))) == 1


def test_the_name_of_an_initiator_stays(tmp_path: Path) -> None:
    names = []
    for box, machine in (("a", "1" * 32), ("a", "1" * 32), ("b", "2" * 32)):
        (tmp_path / box / "etc").mkdir(parents=True, exist_ok=True)
        (tmp_path / box / "etc/machine-id").write_text(f"{machine}\n")
        file = tmp_path / box / "etc/iscsi/initiatorname.iscsi"
        subprocess.run([NAME, tmp_path / box], check=True)
        names.append(file.read_text())
        file.unlink()  # /etc forgets
    assert names[0] == names[1] != names[2]
    assert re.fullmatch(r"InitiatorName=iqn\.2005-03\.org\.open-iscsi:[0-9a-f]{12}\n", names[0])
    assert "1" * 12 not in names[0]
    file.write_text("InitiatorName=iqn.2026-01.org.example:own\n")
    subprocess.run([NAME, tmp_path / "b"], check=True)
    assert "own" in file.read_text()
