"""Hostile files through the real command line, in 1 GiB of memory and 30 s of a processor.

Each ends with one clear line and the exit code of docs/reference/exit-codes.md, never a traceback.
Each kind has a benign neighbour, which the command takes or refuses for another reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from edgeimg.image import bmap

MEMORY = 1 << 30
SECONDS = 30
WALL = 240
"""Seconds; other tests may run beside these."""
MIB = 1 << 20
Maker = Callable[[Path], list[str | Path]]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A command on files that `make` writes, and how it ends."""

    make: Maker
    code: int
    says: str
    environment: dict[str, str] = field(default_factory=dict)


def written(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def difference(data: bytes) -> Maker:
    return lambda directory: ["diff", *[written(directory / "x.manifest.json", data)] * 2]


def settings(user_data: str) -> Maker:
    def make(directory: Path) -> list[str | Path]:
        folder = directory / "nocloud"
        written(folder / "user-data", f"#cloud-config\n{user_data}".encode())
        return ["provision", "--check", folder]

    return make


def aliases() -> str:
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    return "\n".join(rows)


def feed(data: bytes, count: int = 1) -> Maker:
    def make(directory: Path) -> list[str | Path]:
        sbom = {"bomFormat": "CycloneDX", "specVersion": "1.6", "components": []}
        path = directory / "osv.zip"
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open("a.json", "w", force_zip64=True) as member,
        ):
            for _ in range(count):
                member.write(data)
        bill = written(directory / "x.cdx.json", json.dumps(sbom).encode())
        return ["cve", path, "--sbom", bill, "--offline"]

    return make


def flashed(size: str) -> Maker:
    """A block map whose own digest is right, and whose size of the image may be wrong."""

    def make(directory: Path) -> list[str | Path]:
        raw = written(directory / "x.raw", b"x" * 65536)
        lines = bmap.document(raw, [(0, 15)]).decode().splitlines(keepends=True)
        text = "".join(
            f"<BmapFileChecksum> {'0' * 64} </BmapFileChecksum>\n" if "FileChecksum" in line
            else line.replace(" 65536 ", f" {size} ") for line in lines
        )  # fmt: skip
        own = hashlib.sha256(text.encode()).hexdigest()
        written(directory / "x.bmap", text.replace("0" * 64, own, 1).encode())
        return ["flash", "--yes", raw, directory / "disk"]

    return make


def repeated(count: int) -> Maker:
    """A zip of 150 KB whose entries are one record of 150 MB, `count` times."""

    def make(directory: Path) -> list[str | Path]:
        command = feed(b'{"id": "X-1", "affected": []}')(directory)
        record = b" " * (150 * MIB) + b'{"id": "X-1", "affected": []}'
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        packed = packer.compress(record) + packer.flush()
        facts = (8, 0, 0, zlib.crc32(record), len(packed), len(record), 6)
        local = struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, *facts, 0) + b"a.json" + packed
        entry = struct.pack("<IHHHHHHIIIHHHHHII", 0x02014B50, 20, 20, 0, *facts, *[0] * 6)
        entries = (entry + b"a.json") * count
        sizes = (0, 0, count, count, len(entries), len(local), 0)
        end = struct.pack("<IHHHHIIH", 0x06054B50, *sizes)
        written(directory / "osv.zip", local + entries + end)
        return command

    return make


def vulnerable(record: object, versions: int = 300) -> Maker:
    """A feed of one JSON document, for one package with some versions."""

    def make(directory: Path) -> list[str | Path]:
        components = [
            {"name": "x", "purl": f"pkg:deb/debian/x@{number}?distro=debian-13"}
            for number in range(versions)
        ]
        sbom = {"bomFormat": "CycloneDX", "components": components}
        bill = written(directory / "x.cdx.json", json.dumps(sbom).encode())
        feed = written(directory / "feed.json", json.dumps(record).encode())
        return ["cve", feed, "--sbom", bill, "--offline"]

    return make


def affected(**facts: object) -> dict[str, object]:
    package = {"ecosystem": "Debian:13", "name": "x"}
    return {"id": "X-1", "affected": [{"package": package, **facts}]}


def span(count: int) -> dict[str, object]:
    events = [{"introduced": "0"}, *({"fixed": f"{number}"} for number in range(count))]
    return {"type": "ECOSYSTEM", "events": events}


def release(files: Mapping[str, bytes | int]) -> Maker:
    """The directory of a build; numbers are bytes of zeros, as holes."""

    def make(directory: Path) -> list[str | Path]:
        rows = []
        for name, content in sorted(files.items()):
            with (directory / name).open("wb") as file:
                if isinstance(content, int):
                    file.truncate(content)
                else:
                    file.write(content)
            with (directory / name).open("rb") as file:
                rows.append(f"{hashlib.file_digest(file, 'sha256').hexdigest()}  {name}\n")
        written(directory / "SHA256SUMS", "".join(rows).encode())
        return ["verify", directory]

    return make


def manifest(**sizes: int) -> bytes:
    """Of an image, as `edgeimg build` writes it."""
    root = "0123456789abcdef" * 4
    halves = [f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" for h in (root[:32], root[32:])]
    partitions = [
        {"name": name, "label": name, "type": "x", "uuid": uuid, "start": 0, "size": 1}
        for name, uuid in zip(("root-a", "root-a-verity"), halves, strict=True)
    ]
    return json.dumps({
        "schema": "edgeimg-manifest-1", "kernel": "6", "packages": [], "components": {},
        "image": {"id": "x", "version": "1", "arch": "arm64", "epoch": 0}, "k3s": None,
        "sizes": sizes, "root_hash": root,
        "disk": {"uuid": "u", "size": 65536, "partitions": partitions},
    }).encode()  # fmt: skip


UPDATE = {
    "release.json": b"{}", "x_1_arm64.raw.zst": b"x",
    "x_1_arm64_01234567-89ab-cdef-0123-456789abcdef.root.xz": b"x",
    "x_1_arm64_01234567-89ab-cdef-0123-456789abcdef.verity.xz": b"x",
}  # fmt: skip


def toml(text: str, *command: str) -> Maker:
    return lambda directory: [*command, written(directory / "x.toml", text.encode())]


def locked(text: str) -> Maker:
    """`lock --check` of a recipe with this lock, from its suite on."""

    def make(directory: Path) -> list[str | Path]:
        head = f'format = 1\nrecipe = "{"0" * 64}"\nsuite = '
        written(directory / "x.lock.toml", (head + text).encode())
        recipe = written(directory / "x.toml", b'[image]\nversion = "1.0"\n')
        return ["lock", "--check", "-r", recipe]

    return make


def rows(count: int) -> str:
    row = f"1.0 all debian pool/x/{{0}}.deb 1 {'0' * 64}"
    lines = "".join(f'x{number} = "{row.format(number)}"\n' for number in range(count))
    return f'"trixie"\n[image.x86-64.packages.root]\n{lines}'


def nocloud(size: int) -> Maker:
    def make(directory: Path) -> list[str | Path]:
        folder = directory / "nocloud"
        written(folder / "user-data", b"#cloud-config\n")
        with (folder / "user-data").open("r+b") as file:
            file.truncate(size)
        return ["provision", "--check", folder]

    return make


def cards(count: int) -> str:
    return "".join(
        f'[network.n{number}]\ninterface = "e{number}"\ndhcp = true\nmetric = {number + 1}\n'
        for number in range(count)
    )


def pipe(name: str, *command: str) -> Maker:
    """The command with a pipe that nobody writes to, in the place of `@`."""

    def make(directory: Path) -> list[str | Path]:
        os.mkfifo(directory / name)
        return [word.replace("@", str(directory / name)) for word in command]

    return make


def large(name: str, *command: str) -> Maker:
    """The command with a file of 1 TiB that is a hole, in the place of `@`."""

    def make(directory: Path) -> list[str | Path]:
        with (directory / name).open("wb") as file:
            file.truncate(1 << 40)
        return [word.replace("@", str(directory / name)) for word in command]

    return make


def circle(name: str, *command: str) -> Maker:
    """The command with a symbolic link to itself, in the place of `@`."""

    def make(directory: Path) -> list[str | Path]:
        (directory / name).symlink_to(name)
        return [word.replace("@", str(directory / name)) for word in command]

    return make


def endless_feed(directory: Path) -> list[str | Path]:
    _, _, *rest = feed(b"")(directory)
    return ["cve", "/dev/zero", *rest]


NOT_REGULAR = "not a regular file"
SPECIAL = {
    "an image that is a pipe": Case(
        make=pipe("x.raw", "inspect", "@"), code=14, says="neither a file nor a disk"
    ),
    "a recipe that is a pipe": Case(
        make=pipe("x.toml", "lock", "--check", "-r", "@"), code=3, says=NOT_REGULAR
    ),
    "a board that is a pipe": Case(
        make=pipe("b.toml", "build", "--offline", "--board", "@"), code=3, says=NOT_REGULAR
    ),
    "settings that are a pipe": Case(
        make=pipe("x.toml", "provision", "--check", "@"), code=19, says=NOT_REGULAR
    ),
    "a fleet that is a pipe": Case(
        make=pipe("x.csv", "fleet", "check", "@"), code=19, says=NOT_REGULAR
    ),
    "a target of settings that is a pipe": Case(
        make=pipe("x.raw", "provision", "@", "x.toml", "-o", "@.copy.raw"),
        code=14,
        says="neither an image, a disk nor a directory",
    ),
    "a feed that is a device": Case(make=endless_feed, code=7, says=NOT_REGULAR),
    "K3s of a terabyte": Case(
        make=large("k3s", "build", "--offline", "--k3s", "@", "-o", "@.out"),
        code=7,
        says="no K3s binary",
    ),
    "a ledger of a terabyte": Case(
        make=large("ledger", "fleet", "ledger", "@"), code=13, says="larger than 64 MiB"
    ),
    "a board that links to itself": Case(
        make=circle("b.toml", "build", "--offline", "--board", "@"), code=13, says="Symlink loop"
    ),
}
CASES = SPECIAL | {
    "a feed of one large record, again and again": Case(
        make=repeated(1000), code=7, says="a.json is too large"
    ),
    "a feed of one large record": Case(make=repeated(1), code=0, says=""),
    "a range of 200,000 events": Case(
        make=vulnerable(affected(ranges=[span(200_000)])), code=7, says="more than 10000 events"
    ),
    "100 ranges for 300 versions": Case(
        make=vulnerable(affected(ranges=[span(1000)] * 100)), code=7, says="too much work"
    ),
    "a range of 1,000 events": Case(
        make=vulnerable(affected(ranges=[span(1000)])), code=0, says=""
    ),
    "100,000 vulnerabilities": Case(
        make=vulnerable(
            [{**affected(versions=["0"]), "id": f"X-{n}"} for n in range(100_000)], versions=1
        ),
        code=11,
        says="100000 known vulnerabilities",
    ),
    "a release with a block map of 1200 MiB": Case(
        make=release(
            {
                "x_1_arm64.manifest.json": manifest(),
                "x_1_arm64.raw.zst": b"x",
                "x_1_arm64.bmap": 1200 << 20,
            }
        ),
        code=16,
        says="larger than 16 MiB",
    ),
    "a release with a UKI of 1200 MiB": Case(
        make=release(
            {
                **UPDATE,
                "x_1_arm64.manifest.json": manifest(uki=1200 << 20),
                "x_1_arm64.efi": 1200 << 20,
            }
        ),
        code=16,
        says="larger than 256 MiB",
    ),
    "a release with a UKI of another root": Case(
        make=release(
            {**UPDATE, "x_1_arm64.manifest.json": manifest(uki=3), "x_1_arm64.efi": b"abc"}
        ),
        code=16,
        says="x_1_arm64.efi does not boot the root",
    ),
    "a NoCloud file of 64 MB": Case(make=nocloud(64 << 20), code=19, says="larger than 1 MiB"),
    "settings of 5,000 cards": Case(
        make=toml(cards(5000), "provision", "--check"), code=19, says="network"
    ),
    "settings of 100 cards": Case(make=toml(cards(100), "provision", "--check"), code=0, says=""),
    "a fleet of 20,000 gateways": Case(
        make=toml(
            "".join(f'[[gateway]]\nhostname = "g{number}"\n' for number in range(20_000)),
            "fleet",
            "check",
        ),
        code=0,
        says="",
    ),
    "diff of /dev/zero": Case(
        make=lambda _: ["diff", "/dev/zero", "/dev/zero"], code=14, says="/dev/zero"
    ),
    "a lock with a row of 7 MiB": Case(
        make=locked(f'"trixie"\n[image.x86-64.packages.root]\nx = "{"y" * (7 * MIB)}"\n'),
        code=4,
        says="packages.root.x: expected 'VERSION",
    ),
    "a lock of 9 MiB": Case(
        make=locked(f'"trixie"\n#{"x" * (9 * MIB)}'), code=4, says="larger than 8 MiB"
    ),
    "a lock of 100,000 brackets": Case(
        make=locked(f"{'[' * 100_000}{']' * 100_000}"), code=4, says="cannot read"
    ),
    "a lock of 60,000 tables": Case(
        make=locked('"trixie"\n[image]\n' + "".join(f"[a{n}.b]\n" for n in range(60_000))),
        code=4,
        says="unknown key",
    ),
    "a lock of 60,000 rows": Case(make=locked(rows(60_000)), code=4, says="lock"),
    "a schema of 8 MiB": Case(
        make=difference(json.dumps({"schema": "x" * (8 * MIB)}).encode()),
        code=14,
        says="has the schema",
    ),
    "deep JSON": Case(make=difference(b"[" * 1_000_000), code=14, says="damaged"),
    "a manifest of 5,000 digits": Case(
        make=difference(b'{"schema": %s}' % (b"9" * 5000)), code=14, says="damaged"
    ),
    "YAML aliases": Case(make=settings(aliases()), code=19, says="user-data"),
    "YAML of 260,000 items": Case(make=settings("- a\n" * 260_000), code=19, says="user-data"),
    "good settings": Case(make=settings("hostname: box\n"), code=0, says=""),
    "a feed of blanks": Case(make=feed(b" " * MIB, 900), code=7, says="osv.zip"),
    "a small feed": Case(make=feed(b'{"id": "X-1", "affected": []}'), code=0, says=""),
    "a block map of 10^30 bytes": Case(
        make=flashed("1" + "0" * 30), code=14, says="ImageSize is not"
    ),
    "a block map of 4096 bytes": Case(make=flashed("4096"), code=14, says="a disk of 4096 bytes"),
    "a good block map": Case(make=flashed("65536"), code=0, says=""),
    "an image of 4 bytes": Case(
        make=lambda d: ["inspect", written(d / "x.raw.zst", b"\x28\xb5\x2f\xfd")],
        code=14,
        says="x.raw.zst",
    ),
    "HOME in /proc": Case(
        make=lambda d: ["inspect", written(d / "x.raw", b"")],
        code=13,
        says="/proc",
        environment={"HOME": "/proc", "XDG_CACHE_HOME": "", "EDGEIMG_CACHE": ""},
    ),
}


def limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))


@pytest.mark.parametrize("name", CASES)
def test_ends_with_one_clear_line(tmp_path: Path, name: str) -> None:
    case = CASES[name]
    kept = {key: value for key, value in (os.environ | case.environment).items() if value}
    done = subprocess.run(
        [sys.executable, "-m", "edgeimg", *map(str, case.make(tmp_path))],
        check=False,
        capture_output=True,
        text=True,
        timeout=WALL,
        preexec_fn=limited,
        env=kept,
        cwd=Path(__file__).parents[3],
    )
    assert "Traceback" not in done.stderr
    assert "bug in edgeimg" not in done.stderr
    assert done.returncode == case.code, done.stderr
    assert all(len(line) < 3000 for line in done.stderr.splitlines())
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == (1 if case.code else 0), done.stderr
    assert not case.says or case.says in done.stderr
