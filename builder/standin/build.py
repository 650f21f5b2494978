#!/usr/bin/env python3
"""Build the stand-in for one architecture, as one file like K3s's release asset, or the images of
its components, as one file like K3s's air-gap archive.

    python3 build.py --arch arm64 --output k3s-arm64
    python3 build.py --arch arm64 --output k3s-airgap-images-arm64.tar.zst --airgap busybox-static

Needs a Go toolchain and the PyPI package zstandard. Go's caches are those of
the environment (GOCACHE, GOMODCACHE). Progress goes to stderr, as lines
"progress DONE TOTAL" among plain text.

The same sources, Go version and zstandard version give the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from archive import Entry, compress, pack
from components import build_images
from toolchain import (
    FLAGS,
    HERE,
    LINK_FLAGS,
    Go,
    compile_commands,
    program_packages,
    say,
    write_overlay,
)

# What the release names its files.
ASSET_NAMES = {"amd64": "k3s", "arm64": "k3s-arm64", "arm": "k3s-armhf"}

# Command (below cmd/) and its name in bin/.
PROGRAMS = {"k3s": "k3s", "cni": "cni", "shim": "containerd-shim-runc-v2"}

LINKS = {
    "containerd": "k3s",
    "crictl": "k3s",
    "ctr": "k3s",
    "k3s-agent": "k3s",
    "k3s-server": "k3s",
    "kubectl": "k3s",
    "bandwidth": "cni",
    "bridge": "cni",
    "firewall": "cni",
    "host-local": "cni",
    "loopback": "cni",
    "portmap": "cni",
}

PLUGIN_MODULE = "github.com/containernetworking/plugins"
# Plugin, and its folder in that module.
PLUGINS = {
    "bandwidth": "plugins/meta/bandwidth",
    "bridge": "plugins/main/bridge",
    "firewall": "plugins/meta/firewall",
    "host-local": "plugins/ipam/host-local",
    "loopback": "plugins/main/loopback",
    "portmap": "plugins/meta/portmap",
}

NOTE = "This folder is the edgeimg stand-in's, for tests and demonstrations. It is not K3s.\n"


def build_binary(go: Go, work: Path) -> Path:
    """Build the stand-in."""
    programs = compile_programs(go, work)
    say("packing")
    asset = compress(pack(bundle(programs)))
    name = f"{hashlib.sha256(asset).hexdigest()}.tar.zst"
    say(f"asset {name}, {len(asset)} bytes")
    return compile_wrapper(go, work, name, asset)


def compile_programs(go: Go, work: Path) -> dict[str, bytes]:
    """Compile the programs of the bundle; their content by name."""
    out = work / "out"
    overlay = write_overlay(
        work / "programs.json",
        program_packages(
            go,
            work / "plugins",
            "cni",
            "plugins",
            {name: f"{PLUGIN_MODULE}/{path}" for name, path in PLUGINS.items()},
        ),
    )
    compile_commands(go, PROGRAMS, out, overlay, f"{LINK_FLAGS} {version_flags(go)}")
    return {name: (out / command).read_bytes() for command, name in PROGRAMS.items()}


def version_flags(go: Go) -> str:
    """Linker flags that tell Kubernetes' parts which version they are."""
    version = go.output("list", "-m", "-f={{.Version}}", "k8s.io/kubernetes").strip()
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {"gitVersion": f"{version}+standin", "gitMajor": major, "gitMinor": minor}
    return " ".join(
        f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items()
    )


def bundle(programs: Mapping[str, bytes]) -> list[Entry]:
    """The folder that the wrapper unpacks, in K3s's format."""
    files = [
        Entry(name=f"bin/{name}", content=content) for name, content in sorted(programs.items())
    ]
    links = [Entry(name=f"bin/{name}", target=target) for name, target in sorted(LINKS.items())]
    sums = "".join(
        f"{hashlib.sha256(content).hexdigest()}  {name}\n"
        for name, content in sorted(programs.items())
    )
    targets = "".join(f"{name} {target}\n" for name, target in sorted(LINKS.items()))
    return sorted(
        [
            *(Entry(name=name) for name in ("bin", "bin/aux", "etc")),
            *files,
            *links,
            Entry(name="bin/.sha256sums", content=sums.encode()),
            Entry(name="bin/.links", content=targets.encode()),
            Entry(name="etc/standin", content=NOTE.encode()),
        ],
        key=lambda entry: entry.name,
    )


def compile_wrapper(go: Go, work: Path, name: str, asset: bytes) -> Path:
    """Compile the wrapper around the asset."""
    stored = work / name
    stored.write_bytes(asset)
    overlay = write_overlay(
        work / "wrapper.json", {HERE / "cmd" / "wrapper" / "asset" / name: stored}
    )
    wrapper = work / "wrapper"
    go.output(
        "build",
        *FLAGS,
        f"-ldflags={LINK_FLAGS}",
        f"-overlay={overlay}",
        "-o",
        str(wrapper),
        "./cmd/wrapper",
    )
    return wrapper


def publish(built: Path, output: Path) -> None:
    """Put the file in place at once, so that no half of it is ever seen."""
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        shutil.copyfile(built, beside)
        beside.chmod(0o755)
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--arch", required=True, choices=sorted(ASSET_NAMES), help="target, in Go's names"
    )
    parser.add_argument(
        "--output", required=True, type=Path, help="file to write, or the folder to write it to"
    )
    parser.add_argument(
        "--airgap",
        type=Path,
        metavar="BUSYBOX",
        help="write the images of the components instead, with this static busybox",
    )
    parser.add_argument("--go", default="go", help="the go program (default: the one on PATH)")
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    if output.is_dir():
        airgap = f"k3s-airgap-images-{arguments.arch}.tar.zst"
        output /= airgap if arguments.airgap else ASSET_NAMES[arguments.arch]
    go = Go.target(arguments.arch, arguments.go)
    try:
        with tempfile.TemporaryDirectory(prefix="standin-") as temporary:
            work = Path(temporary)
            say("downloading modules")
            go.output("mod", "download")
            if arguments.airgap:
                built = build_images(go, work, arguments.airgap.read_bytes())
            else:
                built = build_binary(go, work)
            publish(built, output)
        say(f"wrote {output}, {output.stat().st_size} bytes")
        print(output)
    except subprocess.CalledProcessError as error:
        say(f"{' '.join(map(str, error.cmd[:2]))} failed with exit code {error.returncode}")
        say((error.stderr or "").strip())
        return 1
    except OSError as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
