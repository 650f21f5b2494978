"""What lsblk does not tell: loop devices on a disk, mounts of other processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeimg.flash import devices, kernel


def entry(path: str, kind: str = "disk", **more: Any) -> dict[str, Any]:
    return {"path": path, "type": kind, "size": 1 << 30, "mountpoints": [None], **more}


def dangers(told: dict[str, Any], path: str) -> tuple[str, ...]:
    return next(one.dangers for one in devices.disks(told) if one.path == path)


def test_a_loop_device_stands_on_what_it_reads() -> None:
    told = {
        "blockdevices": [
            entry("/dev/loop0", "loop", mountpoints=["/mnt"]),
            entry("/dev/sdb", children=[entry("/dev/sdb1", "part")]),
            entry("/dev/sdc"),
        ]
    }
    full = kernel.complete(told, {"/dev/loop0": "/dev/sdb1"}, {})
    assert dangers(full, "/dev/sdb") == (
        "/dev/loop0 is mounted on /mnt",
        "/dev/loop0 (loop) stands on it",
    )
    assert dangers(full, "/dev/sdc") == ()
    assert "children" not in told["blockdevices"][2]  # nothing was changed in place


def test_loops_that_stand_on_each_other_end() -> None:
    told = {"blockdevices": [entry("/dev/loop0", "loop"), entry("/dev/loop1", "loop")]}
    full = kernel.complete(told, {"/dev/loop0": "/dev/loop1", "/dev/loop1": "/dev/loop0"}, {})
    assert "/dev/loop1 (loop) stands on it" in dangers(full, "/dev/loop0")


def test_a_mount_of_another_process_counts() -> None:
    told = {
        "blockdevices": [
            entry("/dev/sdb", children=[entry("/dev/sdb1", "part", **{"maj:min": "8:17"})])
        ]
    }
    full = kernel.complete(told, {}, {"8:17": ["/data by dockerd (42)"]})
    assert dangers(full, "/dev/sdb") == ("/dev/sdb1 is mounted on /data by dockerd (42)",)


def test_the_namespaces_of_services_do_not_repeat_a_mount() -> None:
    part = entry("/dev/sdb1", "part", **{"maj:min": "8:17", "mountpoints": [None, "/var"]})
    told = {"blockdevices": [entry("/dev/sdb", children=[part])]}
    mounts = ["/var by systemd-networkd (42)", "/data by dockerd (43)", "/data by runc (44)"]
    assert dangers(kernel.complete(told, {}, {"8:17": mounts}), "/dev/sdb") == (
        "/dev/sdb1 is mounted on /var",
        "/dev/sdb1 is mounted on /data by dockerd (43)",
    )


def test_facts_are_read_from_the_kernel(tmp_path: Path) -> None:
    disk = tmp_path / "blocks/loop3/loop"
    disk.mkdir(parents=True)
    (disk / "backing_file").write_text("/dev/null\n")
    other = tmp_path / "blocks/loop4/loop"
    other.mkdir(parents=True)
    (other / "backing_file").write_text("/home/a file\n")
    assert kernel.loops(tmp_path / "blocks") == {"/dev/loop3": "/dev/null"}
    for number, namespace in (("self", "mnt:[1]"), ("1", "mnt:[1]"), ("42", "mnt:[2]"),
                              ("43", "mnt:[2]")):  # fmt: skip
        process = tmp_path / "proc" / number
        (process / "ns").mkdir(parents=True)
        (process / "ns/mnt").symlink_to(namespace)
        (process / "comm").write_text("dockerd\n")
        (process / "mountinfo").write_text(
            "22 1 8:17 / /data rw - ext4 /dev/sdb1 rw\n23 1 0:5 / /proc rw - proc proc rw\n"
        )
    assert kernel.foreign_mounts(tmp_path / "proc") == {"8:17": ["/data by dockerd (42)"]}


def test_a_btrfs_on_two_disks_protects_both_and_one_on_one_does_not() -> None:
    both = {"fstype": "btrfs", "uuid": "1"}
    told = {
        "blockdevices": [
            entry("/dev/sdb", **both),
            entry("/dev/sdc", children=[entry("/dev/sdc1", "part", **both)]),
            entry("/dev/sdd", fstype="btrfs", uuid="2"),
        ]
    }
    assert dangers(told, "/dev/sdb") == ("/dev/sdb is a part of a btrfs on several disks",)
    assert dangers(told, "/dev/sdc") == ("/dev/sdc1 is a part of a btrfs on several disks",)
    assert dangers(told, "/dev/sdd") == ()


def test_the_listing_of_this_machine_is_understood() -> None:
    full = kernel.complete({"blockdevices": []}, kernel.loops(), kernel.foreign_mounts())
    assert full == {"blockdevices": []}
