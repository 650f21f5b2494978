"""Hostile files through the real command line, in 1 GiB of memory and 30 s of a processor.

Each ends with one clear line and the exit code of docs/reference/exit-codes.md, never a traceback.
Each kind has a benign neighbour, which the command takes or refuses for another reason.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
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


CASES = {
    "diff of /dev/zero": Case(
        make=lambda _: ["diff", "/dev/zero", "/dev/zero"], code=14, says="/dev/zero"
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
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(errors) == (1 if case.code else 0), done.stderr
    assert not case.says or case.says in done.stderr
