"""Rules at the joints of rooms that are easily lost: each of these has survived a mutation once."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from edgeimg.arch import ARCHITECTURES, ARM64, X86_64, Arch
from edgeimg.build import stages
from edgeimg.cache.store import Store
from edgeimg.errors import BudgetError, CheckError, DamageError, HostError
from edgeimg.flash import safety
from edgeimg.fleet import ledger
from edgeimg.lock.model import K3sAsset
from edgeimg.pack import disk, esp, initrd, uki, verity
from edgeimg.progress import Silent
from edgeimg.provision import target
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.tables import Budget, Image
from edgeimg.sources import k3s_release
from edgeimg.tree import Tree, file
from edgeimg.ui import Ui

from tests.samples import elf

PROJECT = Path(__file__).parents[2]
HASH = "00112233445566778899aabbccddeeff" + "f0e1d2c3b4a5968778695a4b3c2d1e0f"


def test_a_line_of_the_ledger_is_on_the_medium_when_it_is_added(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    book = ledger.Ledger(tmp_path / "ledger")
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(book.path.read_bytes()))
    for run in ("1", "2"):
        book.add(ledger.Entry(run=run, time=ledger.now(), result="ok"))
        assert synced[-1] == book.path.read_bytes()
    assert len(synced) == 2


def test_a_k3s_in_the_cache_is_hashed_again(tmp_path: Path) -> None:
    store, data = Store(tmp_path), b"\x7fELF k3s"
    asset = K3sAsset(
        version="v1.35.0+k3s1",
        url="https://example.org/k3s",
        size=len(data),
        sha256="c0bf4e4dc5d2acbd6d3d4ef54a3f0b8e4a0bd6f0b8b0e6c1b1e8a8d2a9f5c3d7",
    )
    (tmp_path / "blobs").mkdir()
    store.blob(asset.sha256).write_bytes(data)
    with pytest.raises(DamageError, match="k3s v1"):
        k3s_release.fetch_k3s(asset, store, offline=True, progress=Silent(), env={})
    assert not store.has_blob(asset.sha256)


def test_a_private_file_is_private_from_its_beginning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = os.umask(0)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Path, "chmod", lambda *_: None)
            target.private(tmp_path / "new")
        assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
        (tmp_path / "old").write_bytes(b"x")
        target.private(tmp_path / "old")
        assert (tmp_path / "old").stat().st_mode & 0o777 == 0o600
        assert (tmp_path / "old").read_bytes() == b"x"
    finally:
        os.umask(before)


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_only_the_slot_with_a_system_is_read_only(arch: Arch) -> None:
    """systemd-sysupdate writes into the empty one, and marks it then."""
    made = disk.plan(Recipe(image=Image()), arch, HASH, {})
    assert [(part.name, part.label, part.attributes) for part in made.partitions] == [
        ("esp", "esp", ""),
        ("root-a", "gateway_0.1.0", "GUID:60"),
        ("root-a-verity", "gateway_0.1.0_verity", "GUID:60"),
        ("root-b", "_empty", ""),
        ("root-b-verity", "_empty", ""),
        ("config", "config", ""),
    ]


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_the_kernel_command_line(arch: Arch) -> None:
    words = uki.cmdline(arch, root_hash=HASH, extra=("quiet",)).split()
    assert words == [
        f"roothash={HASH}",
        "console=tty0",
        f"console={arch.console}",
        "ro",
        "panic=10",  # seconds until a gateway that nobody sees starts again
        "loglevel=4",
        "cgroup_no_v1=all",
        "systemd.gpt_auto=0",  # the root is what the hash names, not what a partition's type says
        "quiet",
    ]


def test_a_new_version_has_three_boots_to_prove_itself() -> None:
    assert esp.uki_name("gateway", "1.2.3") == "gateway_1.2.3+3.efi"


def test_the_initrd_stops_at_a_damaged_block() -> None:
    """dm-verity's last argument; without it a read error is all, and the system goes on."""
    script = initrd.SCRIPT.read_text()
    (table,) = [line for line in script.splitlines() if "panic_on_corruption" in line]
    assert not table.lstrip().startswith("#")


class Recorder:
    """A toolbox that keeps the command lines, and answers as veritysetup would."""

    def __init__(self) -> None:
        self.argv: list[tuple[str, ...]] = []

    def run(self, program: str, *args: str | Path, **_: Any) -> bytes:
        self.argv.append((program, *map(str, args)))
        for arg in map(str, args):
            if arg.startswith("--root-hash-file="):
                Path(arg.partition("=")[2]).write_text(HASH)
        return b""


def test_the_salt_of_verity_is_one_of_its_root(tmp_path: Path) -> None:
    """Trees made for one root in advance are of no use for another."""
    salts = []
    for content in (b"a" * 4096, b"b" * 4096, b"a" * 4096):
        toolbox = Recorder()
        (tmp_path / "root").write_bytes(content)
        made = verity.make(tmp_path / "root", tmp_path / "tree", toolbox=toolbox)  # type: ignore[arg-type]
        assert f"--salt={made.salt}" in toolbox.argv[0]
        salts.append(made.salt)
    assert salts[0] == salts[2] != salts[1]
    assert all(len(salt) == 64 for salt in salts)


def test_images_of_the_root_are_pinned(tmp_path: Path) -> None:
    """The kubelet removes other images when the disk is full, and no registry has these."""
    images, log = tmp_path / "images", tmp_path / "log"
    images.mkdir()
    (images / "images.tar").write_bytes(b"tar")
    (images / "list").write_text("localhost/a:1 sha256:1\n")
    ctr = tmp_path / "ctr"
    ctr.write_text(f'#!/bin/sh\necho "$*" >> {log}\n')
    ctr.chmod(0o755)
    environment = {
        **os.environ,
        "IMAGES": str(images),
        "STATE": str(tmp_path / "state"),
        "CONTAINERD": str(tmp_path / "containerd"),
        "CTR": str(ctr),
    }
    script = PROJECT / "overlays/base/usr/lib/edgeimg/import-images"
    subprocess.run(["sh", script], env=environment, check=True, timeout=60)
    assert log.read_text().splitlines() == [
        "--namespace k8s.io images import --label io.cri-containerd.pinned=pinned "
        f"{images / 'images.tar'}"
    ]
    imports = [line for line in script.read_text().splitlines() if "run_ctr import" in line]
    assert len(imports) == 2
    assert all("--label io.cri-containerd.pinned=pinned" in line for line in imports)


class Disks:
    """A listing of one card, as lsblk prints it, and the rest of the host that `safety` asks."""

    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.path = tmp_path / "sdx"
        self.path.touch()
        self.sequence = tmp_path / "sys/8:16/diskseq"
        self.sequence.parent.mkdir(parents=True)
        self.sequence.write_text("7\n")
        self.row: dict[str, Any] = {
            "path": str(self.path), "type": "disk", "size": 8 << 30, "model": "Card", "rm": True,
            "serial": "S1", "maj:min": "8:16", "mountpoints": [None],
        }  # fmt: skip
        modes = SimpleNamespace(S_ISREG=lambda _: False, S_ISBLK=lambda _: True)
        monkeypatch.setattr(safety, "stat", modes)
        monkeypatch.setattr(safety, "SYS", tmp_path / "sys")

    def listing(self) -> dict[str, Any]:
        return {"blockdevices": [self.row]}

    def choose(self, *, fixed: bool = False) -> safety.Chosen:
        return safety.choose(self.path, 1 << 30, fixed=fixed, listing=self.listing)


@pytest.fixture
def disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Disks:
    return Disks(tmp_path, monkeypatch)


def test_a_built_in_disk_is_written_to_only_when_it_is_meant(disks: Disks) -> None:
    disks.choose()
    disks.row["rm"] = False
    with pytest.raises(HostError, match="--fixed"):
        disks.choose()
    disks.choose(fixed=True)


def test_fixed_allows_nothing_else(disks: Disks) -> None:
    disks.row |= {"rm": False, "mountpoints": ["/"]}
    with pytest.raises(HostError, match="holds the system"):
        disks.choose(fixed=True)


@pytest.mark.parametrize(
    ("key", "value"),
    [("serial", "S2"), ("model", "Drive"), ("size", 16 << 30), ("maj:min", "8:32")],
)
def test_another_disk_by_the_same_name_is_refused(disks: Disks, key: str, value: object) -> None:
    chosen = disks.choose()
    safety.still_the_same(chosen, listing=disks.listing)
    disks.row[key] = value
    with pytest.raises(HostError, match="another disk"):
        safety.still_the_same(chosen, listing=disks.listing)


def test_a_disk_that_was_taken_out_and_put_in_is_refused(disks: Disks) -> None:
    chosen = disks.choose()
    disks.sequence.write_text("8\n")
    with pytest.raises(HostError, match="another disk"):
        safety.still_the_same(chosen, listing=disks.listing)


def test_a_disk_that_is_gone_is_refused(disks: Disks) -> None:
    chosen = disks.choose()
    with pytest.raises(HostError, match="another disk"):
        safety.still_the_same(chosen, listing=lambda: {"blockdevices": []})


def test_a_disk_that_came_into_use_is_refused(disks: Disks) -> None:
    chosen = disks.choose()
    disks.row["mountpoints"] = ["/media/card"]
    with pytest.raises(HostError, match=r"in use now:\n.*mounted on /media/card"):
        safety.still_the_same(chosen, listing=disks.listing)


def test_a_program_of_another_architecture_is_not_built() -> None:
    def composed(arch: Arch) -> Any:
        programs = Tree().with_nodes({"usr/bin/x": file(elf(arch), mode=0o755)})
        inputs = SimpleNamespace(kernel=SimpleNamespace(vendor=None))
        return SimpleNamespace(plan=SimpleNamespace(arch=X86_64), root=programs, inputs=inputs)

    stages.check_programs(composed(X86_64))
    with pytest.raises(CheckError, match="usr/bin/x"):
        stages.check_programs(composed(ARM64))


@pytest.mark.parametrize("over_budget", [False, True])
def test_an_image_beyond_its_budget_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, over_budget: bool
) -> None:
    sizes = {"root": 1, "verity": 1, "uki": 1, "initrd": 1, "kernel": 1}
    published: list[int] = []

    def publish(*_: object, accept: Any, **__: object) -> Any:
        accept(1001)
        published.append(1)
        return SimpleNamespace(files=())

    packed = SimpleNamespace(raw=tmp_path, sizes=sizes)
    monkeypatch.setattr(stages.image, "make_disk", lambda *_, **__: packed)
    monkeypatch.setattr(stages, "publish_build", publish)
    monkeypatch.setattr(stages.describe, "manifest", lambda *_, **__: SimpleNamespace(to_json=dict))
    plan: Any = SimpleNamespace(
        recipe=SimpleNamespace(budget=Budget.model_validate({"download": 1000})),
        over_budget=over_budget,
        directory=tmp_path,
        name="x",
    )
    composed: Any = SimpleNamespace(
        plan=plan,
        inputs=SimpleNamespace(kernel=SimpleNamespace(options=frozenset())),
        source=None,
        root=Tree(),
        contents=SimpleNamespace(components={"edgeimg": 1}),
    )
    nothing: Any = None
    arguments = (composed, nothing, Store(tmp_path), nothing, Ui(verbosity=-1))
    if over_budget:
        stages.publish(*arguments)
    else:
        with pytest.raises(BudgetError, match="download"):
            stages.publish(*arguments)
    assert published == [1] * over_budget
