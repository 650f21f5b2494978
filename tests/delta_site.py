"""A gateway with one version and a web server with the next one, for its program `delta`."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from edgeimg.pack import verity
from edgeimg.release import assemble, delta
from edgeimg.tools import Toolbox

from tests.integration.fileserver import FileServer
from tests.updater import ROOT, environment

PROGRAM = ROOT / "usr/lib/edgeimg/delta"
NAME = "gw_1.1.0_x86-64"
_APPLETS = (
    "awk", "cut", "dd", "df", "hexdump", "head", "od", "sha256sum", "sort", "stat", "tail", "tr",
    "xzcat",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Version:
    """The contents of a version's files."""

    root: Path
    """A multiple of 4 KiB."""
    uki: Path


@dataclass
class Site:
    """A gateway with version 1.0.0, and a web server with 1.1.0 below /gw."""

    directory: Path
    server: FileServer
    contents: dict[str, Path]
    """Of the new version, by part: root, verity, uki."""
    env: dict[str, str]

    def prepare(self, *prefix: str, url: str = "") -> subprocess.CompletedProcess[str]:
        """Fetch what the gateway has not; `prefix` goes before the command."""
        place = url or self.server.url
        return subprocess.run(
            [*prefix, "busybox", "sh", str(PROGRAM), "prepare", "1.1.0", f"{place}/gw"],
            check=False, capture_output=True, text=True, env=self.env, timeout=600,
        )  # fmt: skip

    def assembled(self) -> dict[str, bytes]:
        """What systemd-sysupdate would get, by part. Raises AssertionError for a wrong digest."""
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = subprocess.Popen(
            [PROGRAM, "serve"], env={**self.env, "EDGEIMG_DELTA_PORT": str(port)}
        )
        parts = {}
        try:
            url = f"http://127.0.0.1:{port}/cgi-bin/update"
            for line in _until_it_answers(f"{url}/SHA256SUMS").decode().splitlines():
                digest, name = line.split("  ")
                data = _get(f"{url}/{name}")
                assert sha256(data).hexdigest() == digest, name
                parts[name.rpartition(".")[2].replace("efi", "uki")] = data
        finally:
            server.terminate()
            server.wait()
        return parts


def make(directory: Path, old: Version, new: Version, *, pack: Toolbox) -> Site:
    """The site below the new directory `directory`; its server has to be entered."""
    programs, partitions = directory / "bin", directory / "partitions"
    entries, published = directory / "boot/EFI/Linux", directory / "published"
    for path in (programs, partitions, entries, published):
        path.mkdir(parents=True)
    for name in _APPLETS:
        (programs / name).symlink_to(shutil.which("busybox") or "")
    program = programs / "veritysetup"
    program.write_text(f'#!/bin/sh\nexec {" ".join(pack.argv("veritysetup"))} "$@"\n')
    program.chmod(0o755)
    shutil.copyfile(old.root, partitions / "gw_1.0.0")
    verity.make(partitions / "gw_1.0.0", partitions / "gw_1.0.0_verity", toolbox=pack)
    shutil.copyfile(old.uki, entries / "gw_1.0.0.efi")
    (directory / "os-release").write_text('IMAGE_ID=gw\nIMAGE_VERSION="1.0.0"\n')
    contents = {
        "root": published / f"{NAME}_{UUID(int=1)}.root",
        "verity": published / f"{NAME}_{UUID(int=2)}.verity",
        "uki": published / f"{NAME}.efi",
    }
    shutil.copyfile(new.root, contents["root"])
    shutil.copyfile(new.uki, contents["uki"])
    verity.make(contents["root"], contents["verity"], toolbox=pack)
    packed = contents["root"].with_name(f"{contents['root'].name}{delta.PIECES}")
    parts = (
        delta.root(contents["root"], packed, toolbox=pack),
        delta.verity(contents["verity"]),
        delta.uki(contents["uki"]),
    )
    index = published / f"{NAME}{delta.SUFFIX}"
    index.write_bytes(delta.encode({part.kind: part for part in parts}))
    for part in ("root", "verity"):
        pack.run("xz", "--keep", "-6", str(contents[part]), timeout=600)
    (published / "SHA256SUMS.update").write_bytes(assemble.update_sums(published, [index.name]))
    (published / "SHA256SUMS.update.gpg").write_bytes(b"checked by systemd-sysupdate")
    server = FileServer()
    server.files = {
        f"/gw/{path.name}": path.read_bytes() for path in published.iterdir()
        if path not in (contents["root"], contents["verity"])
    }  # fmt: skip
    env = environment(directory, PARTITIONS=partitions) | {"EDGEIMG_ARCH": "x86-64"}
    return Site(directory, server, contents, env | {"PATH": f"{programs}:{env['PATH']}"})


def _until_it_answers(url: str) -> bytes:
    for _ in range(100):
        try:
            return _get(url)
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"{url} does not answer")


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        data: bytes = answer.read()
    return data
