"""Fleets for real: disks that come and go become gateways, and the ledger knows which."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from edgeimg.arch import X86_64
from edgeimg.cache.store import Store
from edgeimg.flash.devices import Device
from edgeimg.flash.safety import Chosen
from edgeimg.flash.write import MARK
from edgeimg.fleet import facts, images, ledger, match
from edgeimg.fleet.images import Base
from edgeimg.fleet.ledger import Ledger
from edgeimg.fleet.match import Row
from edgeimg.fleet.station import Station, Wanted
from edgeimg.fleet.writing import Finished, Order, Workshop
from edgeimg.image import blockmap
from edgeimg.pack import disk as disks
from edgeimg.progress import Silent

from tests import loop_devices

pytestmark = pytest.mark.integration
EDGEIMG = shutil.which("edgeimg") or "edgeimg"
NAMES = ("box-1", "box-2", "box-3")
needs_loop = pytest.mark.skipif(
    os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root, loop devices"
)


@dataclass(frozen=True)
class Release:
    """A small image as it is published, and the same unpacked."""

    image: Path
    raw: Path

    @property
    def blocks(self) -> blockmap.BlockMap:
        return blockmap.read(self.image.with_name("gateway_0.1.0_x86-64.bmap"))


@pytest.fixture(scope="module")
def release(tiny, publish_image, tmp_path_factory: pytest.TempPathFactory) -> Release:
    work = tmp_path_factory.mktemp("release")
    packed = tiny.make(X86_64, {}, work)
    published = publish_image(tiny, packed, work / "out")
    return Release(published.directory / published.file(".raw.zst").name, packed.raw)


def config(image: Path, path: str, tiny) -> bytes:
    """A file of the config partition, by mtools."""
    start = disks.read(image, toolbox=tiny.pack)["config"].start
    return tiny.pack.run("mtype", "-i", f"{image}@@{start}", f"::/edgeimg/{path}", timeout=60)


def became(disk: Path, name: str, release: Release, tiny) -> bool:
    """By cmp(1), range by range, and by mtools what is this gateway's own."""
    part = disks.read(release.raw, toolbox=tiny.pack)["config"]
    return all(
        subprocess.run(
            ["cmp", "-s", "-n", str(e.size), "-i", str(e.start), disk, release.raw], check=False
        ).returncode == 0
        for e in release.blocks.extents if not part.start <= e.start < part.start + part.size
    ) and config(disk, "hostname", tiny) == f"{name}\n".encode()  # fmt: skip


# Images of gateways


def fleet_file(folder: Path, **more: str) -> Path:
    """Three gateways, with a secret each; `more` are further columns by their names."""
    (folder / "token").write_text("hush-hush\n")
    names = ["hostname", "k3s.role", "k3s.server", "k3s.token_file", *more]
    rows = [[name, "agent", "https://10.0.0.1:6443", "token", *(value.format(name) for value in
             more.values())] for name in NAMES]  # fmt: skip
    path = folder / "fleet.csv"
    path.write_text("".join(",".join(row) + "\n" for row in [names, *rows]))
    return path


def run(*arguments: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [EDGEIMG, *map(str, arguments)], capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, **more,
    )  # fmt: skip


@pytest.mark.parametrize("packed", [False, True])
def test_an_image_of_each_gateway_differs_in_its_config_partition_alone(
    release: Release, tiny, tmp_path: Path, packed: bool
) -> None:
    out, names = tmp_path / "out", NAMES[:1] if packed else NAMES
    done = run("fleet", "images", release.image, fleet_file(tmp_path), "-o", out, "--json",
               *(["--compress", "--only", names[0]] if packed else []))  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert [one["name"] for one in json.loads(done.stdout)["images"]] == list(names)
    assert "hush-hush" not in done.stdout + done.stderr
    part = disks.read(release.raw, toolbox=tiny.pack)["config"]
    end = part.start + part.size
    for name in names:
        made = out / f"{name}.raw"
        if packed:
            assert (out / f"{name}.raw.zst").stat().st_mode & 0o077 == 0
            subprocess.run(["zstd", "-q", "-d", "--sparse", out / f"{name}.raw.zst"], check=True)
        else:
            assert made.stat().st_mode & 0o077 == 0
            assert made.stat().st_blocks * 512 < made.stat().st_size / 2
        assert (out / f"{name}.bmap").stat().st_mode & 0o077 == 0
        for head in (f"--bytes={part.start}", f"--ignore-initial={end}"):
            subprocess.run(["cmp", head, made, release.raw], check=True)
        assert config(made, "hostname", tiny) == f"{name}\n".encode()
        assert b"hush-hush" in config(made, "k3s.yaml", tiny)
        # A card that held other things before: what the block map leaves out does not matter.
        card = tmp_path / "card"
        with card.open("wb") as file, made.open("rb") as source:
            file.truncate(made.stat().st_size)
            file.seek(part.start)
            file.write(b"\xaa" * part.size)
            for extent in blockmap.read(out / f"{name}.bmap").extents:
                source.seek(extent.start)
                found = source.read(extent.size)
                assert hashlib.sha256(found).hexdigest() == extent.sha256
                file.seek(extent.start)
                file.write(found)
        assert config(card, "hostname", tiny) == f"{name}\n".encode()
        made.unlink()
        card.unlink()
    assert sorted(path.suffix for path in out.iterdir()) == (
        [".bmap", ".zst"] if packed else [".bmap"] * 3
    )


def test_rows_for_another_architecture_are_left_out(release: Release, tmp_path: Path) -> None:
    path = fleet_file(tmp_path, arch="arm64")
    done = run("fleet", "images", release.image, path, "-o", tmp_path / "out")
    assert done.returncode == 19
    assert "no gateway for an image of x86-64" in done.stderr
    path.write_text(path.read_text().replace("arm64", "x86-64", 1))
    done = run("fleet", "images", release.image, path, "-o", tmp_path / "out", "--json")
    assert [one["name"] for one in json.loads(done.stdout)["images"]] == ["box-1"]
    assert "2 gateways are not for x86-64" in done.stderr


def test_rows_that_ask_for_an_architecture_need_an_image_that_tells_its_own(
    release: Release, tmp_path: Path
) -> None:
    image = tmp_path / release.image.name
    for path in (release.image, release.image.with_name("gateway_0.1.0_x86-64.bmap")):
        shutil.copy(path, tmp_path)
    path, out = fleet_file(tmp_path, arch="arm64"), tmp_path / "out"
    for command in (("images", image, path, "-o", out), ("flash", image, path, "--no-wait")):
        done = run("fleet", *command)
        assert done.returncode == 14, done.stderr
        assert "keep the image's .manifest.json beside it" in done.stderr
    assert not out.exists()
    fleet_file(tmp_path)  # without the column, it is for all
    assert run("fleet", "images", image, path, "-o", out, "--only", "box-1").returncode == 0


def test_an_image_that_is_not_what_its_block_map_says_is_used_for_nobody(
    release: Release, tmp_path: Path
) -> None:
    other = tmp_path / "gateway_0.1.0_x86-64.raw"
    subprocess.run(["cp", "--sparse=always", release.raw, other], check=True)
    with other.open("r+b") as file:
        file.seek(release.blocks.extents[1].start + 5)
        file.write(b"?")
    described = release.image.with_name("gateway_0.1.0_x86-64.bmap")
    shutil.copy(described, other.with_suffix(".bmap"))
    done = run("fleet", "images", other, fleet_file(tmp_path), "-o", tmp_path / "out")
    assert done.returncode == 14
    assert "does not match its block map" in " ".join(done.stderr.split())
    assert not list((tmp_path / "out").glob("*"))


# The bench: what lsblk tells is made up, what is written is not


class Bench:
    """Who says yes to everything but what is in `no`, and remembers."""

    def __init__(self, no: Iterable[str] = ()) -> None:
        self.told: list[str] = []
        self.no = set(no)

    def ask(self, chosen: Chosen, row: Row) -> bool:
        self.told.append(f"ask {chosen.argument.name} {row.name}")
        return chosen.argument.name not in self.no

    def passed(self, device: Device, reason: str) -> None:
        self.told.append(f"pass {Path(device.path).name}: {reason}")

    def began(self, chosen: Chosen, row: Row) -> None:
        self.told.append(f"begin {chosen.argument.name} {row.name}")

    def finished(self, done: Finished) -> None:
        self.told.append(f"end {done.gateway} {done.outcome.ok}")

    def waiting(self, progress: Mapping[str, match.Progress]) -> None:
        self.told.append("wait")


class Desk:
    """Cards as files, and what lsblk would tell of those that are in a reader."""

    def __init__(self, folder: Path, shop: Workshop) -> None:
        self.folder, self.shop = folder, shop
        self.cards: dict[str, dict[str, Any]] = {}
        self.peeks: Callable[[Path], object] = lambda _: None
        """Happens before somebody looks at what a card holds."""

    def insert(self, name: str, *, serial: str = "", size: int | None = None) -> Path:
        card = self.folder / name
        if not card.exists():
            with card.open("wb") as file:
                file.truncate(size or self.shop.base.blocks.image_size + (1 << 20))
        self.cards[name] = {
            "path": str(card), "type": "disk", "size": card.stat().st_size, "rm": True,
            "serial": serial, "maj:min": "999:0", "mountpoints": [None],
        }  # fmt: skip
        return card

    def work(
        self,
        bench: Bench,
        rows: Iterable[Row],
        *steps: Callable[[], object],
        hurry: Iterable[Callable[[], object]] = (),
        **more: Any,
    ) -> list[Finished]:
        """Steps happen when nothing is being written and all was looked at twice; those in
        `hurry` one after each look."""
        left, looks, soon = list(steps), 0, list(hurry)

        def rest() -> None:
            nonlocal looks
            looks += 1
            if soon:
                soon.pop(0)()
            elif station._running:
                time.sleep(0.05)
            elif looks % 2:
                pass  # what has come is looked at once more before it is believed
            elif left:
                left.pop(0)()
            else:
                raise KeyboardInterrupt

        station = Station(
            shop=self.shop,
            wanted=Wanted(
                orders=tuple(Order(row=row, files=files(row.name)) for row in rows), **more
            ),
            bench=bench,
            progress=Silent(),
            holds=self.holds,
            listing=lambda: {"blockdevices": list(self.cards.values())},
            rest=rest,
        )
        with contextlib.suppress(KeyboardInterrupt):
            station.run()
        return station.done

    def holds(self, card: Path) -> str:
        self.peeks(card)
        return images.holder(card, toolbox=self.shop.toolbox)


def files(name: str) -> dict[str, bytes]:
    return {"edgeimg/hostname": f"{name}\n".encode()}


@pytest.fixture
def desk(release: Release, tiny, tmp_path: Path) -> Desk:
    shop = Workshop(
        base=Base(raw=release.raw, blocks=release.blocks),
        facts=facts.read(release.image),
        ledger=Ledger(tmp_path / "ledger"),
        store=Store(tmp_path / "store"),
        toolbox=tiny.pack,
        logs=None,
    )
    return Desk(tmp_path, shop)


ROWS = (Row(name="box-1", disk_serial="S1"), Row(name="box-2"), Row(name="box-3"))


def test_disks_become_gateways_as_they_come(desk: Desk, tiny) -> None:
    bench = Bench()
    desk.insert("old")  # was there before: nobody put it in for this
    done = desk.work(
        bench, ROWS,
        lambda: desk.insert("first"),
        lambda: desk.insert("named", serial="S1"),
        lambda: desk.insert("tiny", size=1 << 20),
        lambda: desk.cards.pop("first"),
        lambda: desk.insert("last"),
    )  # fmt: skip
    assert [(one.gateway, one.outcome.ok) for one in done] == [
        ("box-2", True), ("box-1", True), ("box-3", True),
    ]  # fmt: skip
    told = [line for line in bench.told if line != "wait"]
    refused = [line for line in told if line.startswith("pass tiny")]
    assert "is a file of 1048576 bytes" in refused[0]
    told = [line for line in told if line not in refused]
    assert told[:5] == [
        "ask first box-2", "begin first box-2", "end box-2 True", "begin named box-1",
        "end box-1 True",
    ]  # fmt: skip
    assert told[5:] == ["ask last box-3", "begin last box-3", "end box-3 True"]
    for card, name in (("first", "box-2"), ("named", "box-1"), ("last", "box-3")):
        assert config(desk.folder / card, "hostname", tiny) == f"{name}\n".encode()
    assert (desk.folder / "old").stat().st_blocks == 0
    runs = desk.shop.ledger.read().runs()
    assert [(one.gateway, one.result) for one in runs] == [
        ("box-2", "ok"), ("box-1", "ok"), ("box-3", "ok"),
    ]  # fmt: skip
    assert {one.digest for one in runs} == {
        hashlib.sha256(desk.shop.base.raw.parent.joinpath(
            "out", desk.shop.facts.file).read_bytes()).hexdigest()
    }  # fmt: skip
    assert {(one.version, one.arch) for one in runs} == {("0.1.0", "x86-64")}


def test_a_disk_that_was_there_before_is_taken_only_by_its_serial_number(desk: Desk) -> None:
    desk.insert("named", serial="S1")
    desk.insert("other", serial="S9")
    bench = Bench()
    assert [one.gateway for one in desk.work(bench, ROWS)] == ["box-1"]
    assert not any("other" in line for line in bench.told)


def test_a_serial_number_may_be_told_late(desk: Desk) -> None:
    """The kernel shows a disk before udev knows who it is: it is not taken for another's."""
    bench = Bench()

    done = desk.work(
        bench,
        ROWS,
        hurry=[
            lambda: desk.insert("named"),
            lambda: desk.insert("named", serial="S1"),
        ],
    )
    assert [one.gateway for one in done] == ["box-1"]
    assert not any(line.startswith("ask") for line in bench.told)


def test_a_disk_that_is_swapped_during_a_question_is_another_disk(desk: Desk) -> None:
    class Slow(Bench):
        def ask(self, chosen: Chosen, row: Row) -> bool:
            if chosen.argument.name == "a":
                desk.insert("b", serial="S9")
            return super().ask(chosen, row)

    bench = Slow(no={"b"})
    desk.work(bench, ROWS, lambda: (desk.insert("a"), desk.insert("b", serial="S1")))
    told = [line for line in bench.told if line.startswith(("ask", "begin"))]
    assert told == ["ask a box-2", "begin a box-2", "ask b box-3"]
    assert (desk.folder / "b").stat().st_blocks == 0


def test_a_disk_that_is_swapped_while_it_is_looked_at_is_another_disk(desk: Desk) -> None:
    desk.peeks = lambda card: desk.insert(card.name, serial="S9")
    bench = Bench(no={"b"})
    desk.work(bench, ROWS, lambda: desk.insert("b", serial="S1"), lambda: None)
    assert [line for line in bench.told if line != "wait"] == ["ask b box-2"]
    assert (desk.folder / "b").stat().st_blocks == 0


def test_again_is_once(desk: Desk) -> None:
    """Also where a gateway is finished in the middle of a look at all disks."""

    def peeks(card: Path) -> None:
        if card.name == "b":
            _until(lambda: [one.result for one in desk.shop.ledger.read().runs()] == ["ok"])

    desk.peeks = peeks
    bench = Bench()
    desk.work(
        bench, (Row(name="box-2"),), lambda: [desk.insert(name) for name in "abc"],
        again=("box-2",),
    )  # fmt: skip
    assert [line for line in bench.told if line.startswith("begin")] == ["begin a box-2"]


def test_loop_devices_are_taken_only_where_they_are_named(desk: Desk) -> None:
    loop = Path("/dev/loop-none")
    size = desk.shop.base.blocks.image_size

    def attach() -> None:
        desk.cards["loop"] = {"path": str(loop), "type": "loop", "size": size, "maj:min": "7:0"}

    bench = Bench()
    desk.work(bench, ROWS, attach, lambda: None)
    assert set(bench.told) == {"wait"}
    desk.cards.clear()
    desk.work(bench, ROWS, attach, lambda: None, devices=(loop,))
    assert "pass loop-none: there is no device /dev/loop-none" in bench.told


def test_what_nobody_foresaw_stops_no_other_disk(desk: Desk) -> None:
    (desk.folder / "store").symlink_to("store")
    bench = Bench()
    done = desk.work(bench, ROWS, lambda: desk.insert("a"), lambda: desk.insert("b"))
    assert ["symbolic links" in one.outcome.error for one in done] == [True, True]
    assert [one.result for one in desk.shop.ledger.read().runs()] == ["failed", "failed"]


def test_a_log_that_cannot_be_written_stops_no_disk(desk: Desk) -> None:
    (desk.folder / "logs").touch()
    desk.shop = replace(desk.shop, logs=desk.folder / "logs")
    (one,) = desk.work(Bench(), ROWS, lambda: desk.insert("a"))
    assert (one.gateway, one.outcome.ok, one.outcome.log) == ("box-2", True, "")


def test_no_is_an_answer_and_the_card_may_come_again(desk: Desk) -> None:
    bench = Bench(no={"card"})
    desk.work(
        bench, ROWS,
        lambda: desk.insert("card"), lambda: None,
        lambda: desk.cards.pop("card"),
        lambda: (desk.insert("card"), bench.no.clear()),
    )  # fmt: skip
    assert [line for line in bench.told if line != "wait"] == [
        "ask card box-2", "ask card box-2", "begin card box-2", "end box-2 True",
    ]  # fmt: skip


def test_a_finished_card_that_is_put_in_again_is_recognised(desk: Desk) -> None:
    bench = Bench()
    desk.work(
        bench, ROWS,
        lambda: desk.insert("card"),
        lambda: desk.cards.pop("card"),
        lambda: desk.insert("card"),
    )  # fmt: skip
    (passed,) = (line for line in bench.told if line.startswith("pass"))
    assert passed.startswith("pass card: it holds box-2, which was flashed")
    again = Bench()
    desk.cards.clear()
    desk.work(again, ROWS, lambda: desk.insert("card"), again=("box-2",))
    assert [line for line in again.told if line != "wait"] == [
        "ask card box-2",
        "begin card box-2",
        "end box-2 True",
    ]


def test_a_gateway_that_another_process_is_at_is_left_to_it(desk: Desk) -> None:
    with subprocess.Popen(["sleep", "600"]) as other:
        desk.shop.ledger.add(
            ledger.Entry(run="x", time=ledger.now(), result="started", gateway="box-2",
                          by=ledger.whoami(), process=other.pid)
        )  # fmt: skip
        bench = Bench()
        done = desk.work(bench, ROWS, lambda: desk.insert("card"))
        other.kill()
    assert [one.gateway for one in done] == ["box-3"]


# The whole of it, on loop devices


@contextlib.contextmanager
def readers(folder: Path, size: int) -> Iterator[list[Path]]:
    """Empty readers, and a blank card for each gateway beside them."""
    for name in NAMES:
        with (folder / f"{name}.card").open("wb") as file:
            file.truncate(size)
    with loop_devices.readers(len(NAMES)) as slots:
        yield slots


@needs_loop
def test_killed_in_the_middle_and_gone_on(release: Release, tiny, tmp_path: Path) -> None:
    path = fleet_file(tmp_path)
    with readers(tmp_path, release.blocks.image_size + (1 << 20)) as slots:
        loop_devices.insert(slots[0], tmp_path / "box-1.card")
        command = ["fleet", "flash", release.image, path, *slots, "--any-disk", "--labels",
                   tmp_path / "labels"]  # fmt: skip
        working = subprocess.Popen(
            [EDGEIMG, *map(str, command)], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        book = Ledger(tmp_path / "fleet.ledger.jsonl")
        _until(lambda: [one.result for one in book.read().runs()] == ["ok"])
        assert became(slots[0], "box-1", release, tiny)
        loop_devices.insert(slots[1], tmp_path / "box-2.card")
        _until(lambda: len(book.read().runs()) == 2)
        time.sleep(random.uniform(0, 0.4))
        working.send_signal(signal.SIGKILL)
        working.wait(30)
        killed = book.read().runs()[1]
        with slots[1].open("rb") as file:
            head = file.read(512)
        unfinished = head == bytes(512) or head.startswith(MARK)
        assert unfinished or became(slots[1], "box-2", release, tiny)
        assert killed.result == "started" or not unfinished

        loop_devices.insert(slots[2], tmp_path / "box-3.card")
        again = run(*command, "--json", timeout=300)
        assert again.returncode == 0, again.stderr
        told = json.loads(again.stdout)
        assert told["left"] == []
        flashed = {one["name"]: one["device"] for one in told["gateways"]}
        assert set(flashed) == set(NAMES[1:]) if killed.result == "started" else {"box-3"}
        for name, device in flashed.items():
            assert became(Path(device), name, release, tiny)
        assert became(slots[0], "box-1", release, tiny)
        assert sorted(one.stem for one in (tmp_path / "labels").iterdir()) == list(NAMES)
        # All is done: nothing is asked, nothing is written.
        once_more = run(*command, "--no-wait", "--json", timeout=120)
        assert once_more.returncode == 0
        assert json.loads(once_more.stdout)["gateways"] == []
    absent = ("fleet", "flash", release.image, path, "/dev/edgeimg-none", "--no-wait")
    assert run(*absent).returncode == 0  # there was nothing left for it
    assert run(*absent, "--again", "box-1").returncode == 13
    assert run("fleet", "labels", path, "-o", tmp_path / "again").returncode == 0
    for folder in ("labels", "again"):  # the ledger knows which image it was
        label = tmp_path / folder / "box-1.png"
        assert label.is_file()
        if shutil.which("zbarimg"):
            read = subprocess.run(
                ["zbarimg", "--quiet", "--raw", label], check=True, capture_output=True, text=True
            ).stdout
            assert read == "box-1\nimage gateway 0.1.0 x86-64\n"
    listed = run("fleet", "ledger", path, "--gateway", "box-1", "--json")
    (one,) = json.loads(listed.stdout)["runs"]
    digest = hashlib.sha256(release.image.read_bytes()).hexdigest()
    assert (one["result"], one["digest"], one["device"]) == ("ok", digest, str(slots[0]))
    assert "hush-hush" not in book.path.read_text() + again.stderr + again.stdout


@needs_loop
def test_nobody_to_ask_and_disks_in_use(release: Release, tmp_path: Path) -> None:
    path = fleet_file(tmp_path)
    with readers(tmp_path, release.blocks.image_size + (1 << 20)) as slots:
        loop_devices.insert(slots[0], tmp_path / "box-1.card")
        command = ("fleet", "flash", release.image, path, *slots, "--no-wait", "--json")
        done = run(*command)
        assert "there is no terminal to ask" in " ".join(done.stderr.split())
        assert done.returncode == 18
        assert f"{slots[0]} is skipped: it was not confirmed" in done.stderr
        assert f"there is no device {slots[1]}" in done.stderr
        assert json.loads(done.stdout)["left"] == list(NAMES)
        subprocess.run(["mkfs.ext4", "-q", slots[0]], check=True)
        (tmp_path / "mnt").mkdir()
        subprocess.run(["mount", slots[0], tmp_path / "mnt"], check=True)
        try:
            refused = run(*command, "--any-disk")
        finally:
            subprocess.run(["umount", tmp_path / "mnt"], check=True)
        assert f"is mounted on {tmp_path / 'mnt'}" in " ".join(refused.stderr.split())
        assert json.loads(refused.stdout)["gateways"] == []
        assert refused.returncode == 13  # as `edgeimg flash` would
    assert not (tmp_path / "fleet.ledger.jsonl").exists()


@pytest.mark.parametrize(
    ("device", "code", "told"),
    [("/dev/edgeimg-none", 13, "there is no device"), ("card", 18, "is no disk")],
)
def test_named_disks_that_are_none_are_errors_where_nobody_waits(
    release: Release, tmp_path: Path, device: str, code: int, told: str
) -> None:
    path = fleet_file(tmp_path)
    done = run("fleet", "flash", release.image, path, tmp_path / device, "--no-wait")
    assert done.returncode == code, done.stderr
    assert device in done.stderr.partition("error: ")[2]
    assert told in done.stderr


def test_flash_alone_writes_a_ledger_too(release: Release, tmp_path: Path) -> None:
    book = tmp_path / "book"
    for target in ("a.raw", "b.raw"):
        done = run("flash", "--yes", release.image, tmp_path / target, "--ledger", book)
        assert done.returncode == 0, done.stderr
    (tmp_path / "small").write_bytes(bytes(100))
    assert run("flash", "--yes", release.image, tmp_path / "small", "--ledger", book).returncode
    runs = Ledger(book).read().runs()
    assert [(Path(one.device).name, one.result) for one in runs] == [
        ("a.raw", "ok"), ("b.raw", "ok"),
    ]  # fmt: skip
    found = json.loads(
        run("fleet", "ledger", book, "--digest", runs[0].digest[:8], "--json").stdout
    )
    assert len(found["runs"]) == 2


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
