"""Hostile archives: each is refused or read with little memory and time, in a process of its own.

Each kind has a benign neighbour just inside the limits, which passes.
"""

from __future__ import annotations

import hashlib
import io
import multiprocessing
import os
import resource
import signal
import struct
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard
from edgeimg.arch import X86_64
from edgeimg.cache.store import Store
from edgeimg.compose import elf_facts
from edgeimg.errors import ArchiveError, EdgeimgError
from edgeimg.sources import archive, deb, go_binary, k3s_airgap, k3s_asset, oci_layers
from edgeimg.sources.oci_layers import Layer
from edgeimg.streams import decoding, limits
from edgeimg.tree import Span, file, overlay

from tests.fake_k3s import build_info

MEMORY = 512 << 20
SECONDS = 30
"""Of a processor: other tests may run beside these."""
MIB = 1 << 20


def _child(work: Callable[[Path], object], directory: Path, pipe: object) -> None:
    used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    signal.alarm(10 * SECONDS)
    try:
        work(directory)
        pipe.send("")  # type: ignore[attr-defined]
    except EdgeimgError as error:
        pipe.send(error.message)  # type: ignore[attr-defined]
    except BaseException as error:
        pipe.send(f"TRACEBACK {error!r}")  # type: ignore[attr-defined]


def outcome(work: Callable[[Path], object], directory: Path) -> str:
    """What `work` ends with: nothing, or the message of its error; killed when it takes long."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(
        target=_child, args=(work, directory, there)
    )
    process.start()
    there.close()
    try:
        message: str = here.recv()
    except EOFError:
        message = f"TRACEBACK: no answer within {SECONDS} s"
    process.join()
    return message


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info.tobuf(tarfile.GNU_FORMAT)


def write(path: Path, parts: Iterator[bytes | int]) -> Path:
    """Bytes, and numbers of zeros as holes."""
    with path.open("wb") as file:
        for part in parts:
            if isinstance(part, int):
                file.seek(part, os.SEEK_CUR)
            else:
                file.write(part)
        file.seek(1024, os.SEEK_CUR)
        file.truncate()
    return path


def tar_of(parts: Callable[[], Iterator[bytes | int]]) -> Callable[[Path], object]:
    return lambda directory: archive.tar_nodes(write(directory / "x.tar", parts()), "x")


def hard_links() -> Iterator[bytes | int]:
    yield header("./big", size=200 * MIB)
    yield 200 * MIB
    for _ in range(20_000):
        yield header("./again", tarfile.LNKTYPE, link="./big")


def links_to(size: int, count: int) -> Callable[[], Iterator[bytes | int]]:
    def parts() -> Iterator[bytes | int]:
        yield header("./big", size=size)
        yield size
        for number in range(count):
            yield header(f"./{number}", tarfile.LNKTYPE, link="./big")

    return parts


def twins() -> Iterator[bytes | int]:
    for _ in range(2):
        yield header("./big", size=600 * MIB)
        yield 600 * MIB


def named(kind: bytes, size: int) -> Callable[[], Iterator[bytes | int]]:
    def parts() -> Iterator[bytes | int]:
        yield header("././@LongLink", kind, size)
        yield size + -size % 512
        yield header("./x")

    return parts


def deep(paths: int, depth: int) -> Callable[[], Iterator[bytes | int]]:
    def parts() -> Iterator[bytes | int]:
        for number in range(paths):
            yield header(f"./{number}/" + "a/" * (depth - 2) + "f")

    return parts


def row(kind: bytes, count: int) -> Callable[[], Iterator[bytes | int]]:
    record = b"./name\0" if kind == tarfile.GNUTYPE_LONGNAME else b"13 path=name\n"

    def parts() -> Iterator[bytes | int]:
        for _ in range(count):
            yield header("./h", kind, len(record)) + record.ljust(512, b"\0")
        yield header("./x")

    return parts


def one(name: str = "./x", **fields: int | str) -> Callable[[], Iterator[bytes | int]]:
    """A member with these fields of its header."""

    def parts() -> Iterator[bytes | int]:
        info = tarfile.TarInfo(name)
        info.type = tarfile.SYMTYPE if "linkname" in fields else tarfile.REGTYPE
        for key, value in fields.items():
            setattr(info, key, value)
        yield info.tobuf(tarfile.GNU_FORMAT)

    return parts


def sparse_member() -> Iterator[bytes | int]:
    yield header("./x", tarfile.GNUTYPE_SPARSE)


def binary_link() -> Iterator[bytes | int]:
    yield header("./x")
    yield tarfile.TarInfo.tobuf(linked("./\udcff"), tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def linked(name: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.LNKTYPE, "./x"
    return info


def attributes(size: int) -> Callable[[], Iterator[bytes | int]]:
    def parts() -> Iterator[bytes | int]:
        info = tarfile.TarInfo("./x")
        info.pax_headers = {f"SCHILY.xattr.user.{n}": "x" * 1024 for n in range(size)}
        yield info.tobuf(tarfile.PAX_FORMAT)

    return parts


TARS: dict[str, tuple[Callable[[], Iterator[bytes | int]], str]] = {
    "20,000 hard links to 200 MB": (hard_links, ""),
    "more than 4 GiB of links": (links_to(50 * MIB, 82), "hard links make 4100 MiB of more files"),
    "less than 4 GiB of links": (links_to(50 * MIB, 81), ""),
    "two members of 600 MB": (twins, ""),
    "a long name of 250 MB": (named(tarfile.GNUTYPE_LONGNAME, 250 * MIB), "headers are too large"),
    "a long name of 2 MB": (named(tarfile.GNUTYPE_LONGNAME, 2 * MIB), "headers are too large"),
    "a long link of 250 MB": (named(tarfile.GNUTYPE_LONGLINK, 250 * MIB), "headers are too large"),
    "a pax header of 240 MB": (named(tarfile.XHDTYPE, 240 * MIB), "headers are too large"),
    "a global header of 240 MB": (named(tarfile.XGLTYPE, 240 * MIB), "headers are too large"),
    "3,000 paths, 200 deep": (deep(3000, 200), "more than 200000 members"),
    "900 paths, 200 deep": (deep(900, 200), ""),
    "a path 2,000 deep": (deep(1, 2000), "more than 256 directories deep"),
    "a path 250 deep": (deep(1, 250), ""),
    "3,000 pax headers": (row(tarfile.XHDTYPE, 3000), "in a row"),
    "3,000 long names": (row(tarfile.GNUTYPE_LONGNAME, 3000), "in a row"),
    "8 long names": (row(tarfile.GNUTYPE_LONGNAME, 8), ""),
    "a path of 5,000 bytes": (one("./" + "x" * 5000), "longer than 4096 bytes"),
    "a path of 4,000 bytes": (one("./" + "/".join(["x" * 199] * 20)), ""),
    "a name of 256 bytes": (one("./a/" + "ü" * 128), "is longer than 255 bytes"),
    "a name of 255 bytes": (one("./a/x" + "ü" * 127), ""),
    "a hard link that is not UTF-8": (binary_link, "is not UTF-8 text"),
    "extended attributes of 61 KiB": (attributes(61), "extended attributes of /x are too large"),
    "extended attributes of 59 KiB": (attributes(59), ""),
    "a link of 5,000 bytes": (one(linkname="x" * 5000), "longer than 4096 bytes"),
    "a link of 4,000 bytes": (one(linkname="x" * 4000), ""),
    "a user of 2^32": (one(uid=1 << 32), "owner or size out of range"),
    "a group of -1": (one(gid=-1), "owner or size out of range"),
    "a user of 2^32 - 1": (one(uid=(1 << 32) - 1), ""),
    "a sparse member": (sparse_member, "unknown type"),
}


@pytest.mark.parametrize("name", TARS)
def test_tar(tmp_path: Path, name: str) -> None:
    parts, expected = TARS[name]
    message = outcome(tar_of(parts), tmp_path)
    assert expected in message if expected else message == ""


def test_all_extended_headers_together_have_a_limit() -> None:
    budget = limits.Budget(label="x")
    for _ in range(64):
        budget.header(limits.UNTRUSTED.header)
    with pytest.raises(ArchiveError, match="too large"):
        budget.header(1)


def test_the_output_of_a_stream_has_a_limit() -> None:
    untrusted, image = limits.UNTRUSTED, limits.IMAGE
    assert untrusted.output(0) == 256 * MIB
    assert untrusted.output(MIB) == 356 * MIB
    assert untrusted.output(1 << 40) == untrusted.output(None) == 4 << 30
    assert image.output(0) == image.output(1 << 40) == 1 << 36


def test_work_without_progress_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(limits.time, "thread_time", lambda: now[0])
    budget = limits.Budget(label="x", started=0.0)
    now[0] = 39.0
    budget.move(10 * MIB)
    now[0] = 41.0
    with pytest.raises(ArchiveError, match="refused after 40 s"):
        budget.move(0)


def layers(*tars: bytes) -> Callable[[Path], object]:
    def work(directory: Path) -> None:
        made = [
            Layer(
                digest=f"sha256:{hashlib.sha256(data).hexdigest()}",
                open=lambda data=data: (io.BytesIO(data), len(data)),  # type: ignore[misc]
            )
            for data in tars
        ]
        oci_layers.flatten(made, store=Store(directory / "cache"), origin="x")

    return work


def joined(headers: Iterator[bytes]) -> bytes:
    return b"".join(headers) + bytes(1024)


def test_whiteouts(tmp_path: Path) -> None:
    count = range(20_000)
    files = joined(header(f"d{number}/f") for number in count)
    whiteouts = joined(header(f".wh.d{number}") for number in count)
    assert outcome(layers(files, whiteouts), tmp_path) == ""
    replaced = joined(header(f"d{number}") for number in count)
    assert outcome(layers(files, replaced), tmp_path) == ""


def test_layers_together_have_limits(tmp_path: Path) -> None:
    bottom = joined(header(f"{number}") for number in range(3))
    assert outcome(layers(*[bottom] * 500), tmp_path) == ""
    assert "more than 500 layers" in outcome(layers(*[bottom] * 501), tmp_path)
    wide = joined(header(f"{number}") for number in range(50_000))
    assert outcome(layers(*[wide] * 2), tmp_path) == ""
    assert "its layers: more than 400000 members" in outcome(layers(*[wide] * 9), tmp_path)


def test_hard_links_of_layers(tmp_path: Path) -> None:
    big = header("big", size=MIB) + bytes(MIB)
    links = [header(f"l{number}", tarfile.LNKTYPE, link="big") for number in range(5000)]
    assert outcome(layers(joined(iter([big, *links[:4000]]))), tmp_path) == ""
    message = outcome(layers(joined(iter([big, *links]))), tmp_path)
    assert "hard links make 5000 MiB of more files" in message


def test_questions_of_a_package(tmp_path: Path) -> None:
    text = "Template: licence\n" * 800_000 + "Description: yes?\n"

    def work(_: Path) -> None:
        assert deb._licence_question(text) == "yes?"

    assert outcome(work, tmp_path) == ""


def test_a_program_in_a_file_of_gigabytes(tmp_path: Path) -> None:
    program = elf([(0, 120)], b"") + build_info("path\tx\n")
    place = (2 << 30) + 700
    path = write(tmp_path / "layer", iter([place, program, 1 << 30]))

    def work(_: Path) -> None:
        with path.open("rb") as file:
            found = go_binary.read_file(file, place, len(program))
            assert found and found.text == "path\tx\n"
            assert go_binary.read_file(file, place, 100) is None

    assert outcome(work, tmp_path) == ""


def test_loops_of_links(tmp_path: Path) -> None:
    loop = [header("a", tarfile.SYMTYPE, link="b"), header("b", tarfile.SYMTYPE, link="a")]
    message = outcome(layers(joined(iter([*loop, header("a/x")]))), tmp_path)
    assert "loop of symbolic links" in message
    hard = [header("a", tarfile.LNKTYPE, link="b"), header("b", tarfile.LNKTYPE, link="a")]
    assert "hard link" in outcome(layers(joined(iter(hard))), tmp_path)


def elf(segments: list[tuple[int, int]], body: bytes) -> bytes:
    """A 64-bit program for x86-64 with these segments (PT_LOAD)."""
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    head = ident + struct.pack(
        "<HHIQQQIHHHHHH", 2, 62, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0
    )
    table = b"".join(
        struct.pack("<IIQQQQQQ", 1, 4, start, start, start, size, size, 8)
        for start, size in segments
    )
    return head + table + body


def asset_of(data: bytes) -> Callable[[Path], object]:
    def work(directory: Path) -> object:
        path = directory / "k3s"
        path.write_bytes(data)
        return k3s_asset.find(path, X86_64, "k3s")

    return work


def chain(count: int) -> bytes:
    """zstd magics, each of which begins a frame of raw blocks that lead to the last one."""
    frame = b"\x28\xb5\x2f\xfd\x00\x00"
    block = (len(frame) << 3).to_bytes(3, "little") + frame
    return frame + block * count


def test_zstd_frames_that_overlap(tmp_path: Path) -> None:
    name = b"0" * 64 + b".tar.zst"
    data = elf([(0, 120 + 90_000 + len(name))], chain(10_000) + name)
    assert "too much work" in outcome(asset_of(data), tmp_path)
    few = elf([(0, 120 + 900)], chain(100) + name)
    assert "carries no <sha256>.tar.zst" in outcome(asset_of(few), tmp_path)


def test_segments_that_overlap(tmp_path: Path) -> None:
    frame = zstandard.compress(os.urandom(4 * MIB))
    name = hashlib.sha256(frame).hexdigest().encode() + b".tar.zst"
    count = 3000
    start = 64 + 56 * count
    data = elf([(start, len(frame))] * count, frame + name)
    assert outcome(asset_of(data), tmp_path) == ""


@pytest.mark.parametrize("place", [1 << 50, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_headers_where_no_file_reaches(tmp_path: Path, place: int) -> None:
    """Found by the fuzzer: to seek there is an OSError of some file systems."""
    data = bytearray(elf([(0, 200)], bytes(400)))
    assert "carries no <sha256>.tar.zst" in outcome(asset_of(bytes(data)), tmp_path)
    data[32:40] = place.to_bytes(8, "little")
    assert "damaged" in outcome(asset_of(bytes(data)), tmp_path)
    path = tmp_path / "program"
    path.write_bytes(data)
    node = file(Span(path, 0, len(data)), origin="x")
    assert "damaged" in outcome(lambda _: elf_facts.read(node), tmp_path)


def test_a_window_of_2_gib(tmp_path: Path) -> None:
    for window, expected in ((31, "is damaged"), (27, "")):
        # A frame with that window and one block of zeros (RLE).
        frame = b"\x28\xb5\x2f\xfd\x00" + bytes(((window - 10) << 3,)) + b"\x03\x80\x00\x00"
        (tmp_path / f"{window}.tar.zst").write_bytes(frame)

        def work(directory: Path, window: int = window) -> object:
            blob = directory / f"{window}.tar.zst"
            return k3s_airgap.unpack(blob, "0" * 64, Store(directory / f"cache{window}"))

        message = outcome(work, tmp_path)
        assert expected in message if expected else message == ""


def test_a_bomb_of_blocks(tmp_path: Path) -> None:
    frame = b"\x28\xb5\x2f\xfd\x00\x58" + b"\x02\x00\x10\x00" * 100_000

    def work(_: Path) -> None:
        for _piece in decoding.pieces(
            io.BytesIO(frame), "x", method=decoding.ZSTD, packed=len(frame)
        ):
            pass

    assert "refused as a bomb" in outcome(work, tmp_path)


def test_overlays(tmp_path: Path) -> None:
    root = tmp_path / "overlay"
    root.mkdir()
    with (root / "hole").open("wb") as file:
        file.truncate(3 << 30)
    assert outcome(lambda _: overlay.from_directory(root, origin="x"), tmp_path) == ""
    here = os.open(root, os.O_RDONLY)
    for depth in range(300):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
        if depth == 100:
            assert outcome(lambda _: overlay.from_directory(root, origin="x"), tmp_path) == ""
    os.close(here)
    message = outcome(lambda _: overlay.from_directory(root, origin="x"), tmp_path)
    assert "more than 256 directories deep" in message
