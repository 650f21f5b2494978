"""What an update transfers: pieces that the gateway has not, beside whole files and a zstd patch.

    python3 tests/bench/delta.py OLD.raw.zst NEW.raw.zst [OLD NEW]... [--json FILE]

Two images of one architecture that `edgeimg build` has made. The gateway's own program runs here
with busybox, against a web server of the tests, and every byte that it assembles is compared.
`transferred` is what the server has sent, without headers; `peak` is the memory of the largest
program that took part. The patch is that of `zstd -12 --patch-from` for root, hash tree and UKI,
each by itself: its maker has to make and keep one for each pair of versions.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import environment  # noqa: F401
from edgeimg import tools
from edgeimg.cache.store import Store, default_root
from edgeimg.image.manifest import SUFFIX, Manifest
from edgeimg.lock.file import read_lock
from edgeimg.pack import fat
from edgeimg.streams import sparse
from edgeimg.tools import Toolbox
from edgeimg.vm.disk import raw_image

from tests import delta_site
from tests.delta_site import Version

PROJECT = Path(__file__).parents[2]
MIB = 1 << 20
COLUMNS = ("pair", "whole", "transferred", "share", "patch", "prepare s", "assemble s", "peak")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("images", nargs="+", type=Path, help="OLD NEW, in pairs")
    parser.add_argument("--json", type=Path, help="write the figures there")
    arguments = parser.parse_args()
    if len(arguments.images) % 2:
        parser.error("images come in pairs: OLD NEW")
    store = Store(default_root())
    pack = tools.prepare(
        read_lock(PROJECT / "recipes/gateway.lock.toml"), "pack", store, host=tools.build_host()
    )
    rows = []
    for old, new in zip(arguments.images[::2], arguments.images[1::2], strict=True):
        with tempfile.TemporaryDirectory(prefix="edgeimg-delta.") as work:
            rows.append(measure(old, new, Path(work), pack, store))
    print("| " + " | ".join(COLUMNS) + " |")
    print("|---|" + "---:|" * (len(COLUMNS) - 1))
    for row in rows:
        whole, transferred, patched, peak = (
            float(row[name]) / MIB for name in ("whole", "transferred", "patch", "peak")
        )
        print(
            f"| {row['pair']} | {whole:.1f} MiB | {transferred:.2f} MiB | "
            f"{100 * transferred / whole:.1f} % | {patched:.2f} MiB | "
            f"{row['prepare']:.1f} | {row['assemble']:.1f} | {peak:.1f} MiB |"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


def measure(
    old: Path, new: Path, work: Path, pack: Toolbox, store: Store
) -> dict[str, str | float]:
    """Figures of one pair: bytes and seconds."""
    versions = [
        contents(image, work / name, pack, store) for image, name in ((old, "a"), (new, "b"))
    ]
    site = delta_site.make(work / "site", *versions, pack=pack)
    with site.server as server:
        began = time.monotonic()
        done = site.prepare("busybox", "time", "-f", "%M", "-o", str(work / "peak"))
        prepared = time.monotonic() - began
        if done.returncode:
            raise SystemExit(f"{old.name} to {new.name}: {done.stderr}")
        transferred = server.sent
        peak = int((work / "peak").read_text()) * 1024
        began = time.monotonic()
        assembled = site.assembled()
        seconds = time.monotonic() - began
    assert assembled == {part: path.read_bytes() for part, path in site.contents.items()}
    published = site.directory / "published"
    names = [path for path in published.iterdir() if path.name.endswith((".xz", ".efi"))]
    return {
        "pair": f"{old.name.removesuffix('.raw.zst')} to {new.name.removesuffix('.raw.zst')}",
        "whole": sum(path.stat().st_size for path in names),
        "transferred": transferred,
        "patch": patch(site.directory, pack),
        "prepare": prepared,
        "assemble": seconds,
        "peak": peak,
    }


def patch(directory: Path, pack: Toolbox) -> int:
    """Bytes of the patches from the running version's files to the new ones."""
    running = {
        ".root": directory / "partitions/gw_1.0.0",
        ".verity": directory / "partitions/gw_1.0.0_verity",
        ".efi": directory / "boot/EFI/Linux/gw_1.0.0.efi",
    }
    total = 0
    for path in (directory / "published").iterdir():
        if path.suffix in running:
            output = directory / f"{path.suffix[1:]}.patch"
            pack.run(
                "zstd", "-12", "--long=30", "-q", "-f", f"--patch-from={running[path.suffix]}",
                str(path), "-o", str(output), timeout=3600,
            )  # fmt: skip
            total += output.stat().st_size
    return total


def contents(image: Path, directory: Path, pack: Toolbox, store: Store) -> Version:
    """Root and UKI of an image."""
    directory.mkdir()
    raw = raw_image(image, store)
    manifest = Manifest.read(image.with_name(image.name.replace(".raw.zst", SUFFIX)))
    root, uki = directory / "root", directory / "uki"
    slot, esp = manifest.disk["root-a"], manifest.disk["esp"]
    sparse.extract(raw, root, offset=slot.start, size=manifest.sizes["root"])
    (name,) = fat.names(raw, "EFI/Linux", offset=esp.start, toolbox=pack)
    fat.extract(raw, f"EFI/Linux/{name}", uki, offset=esp.start, toolbox=pack)
    return Version(root=root, uki=uki)


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C")
    main()
