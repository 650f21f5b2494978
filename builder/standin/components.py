"""The container images of the stand-in's components, in one archive like K3s's air-gap archive."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from archive import Entry, compress, pack
from toolchain import (
    HERE,
    Go,
    compile_commands,
    program_packages,
    say,
    write_overlay,
)

# In the components' program (cmd/components): what is a program upstream, by its name in images.
COMPONENTS = {"local-path-provisioner": "github.com/rancher/local-path-provisioner"}
COMPONENTS_PLACE = "usr/lib/components"
# What the helper pods of the local-path provisioner run.
APPLETS = ("chmod", "mkdir", "rm", "sh")
# Where the images' names are, and the module that each tag is the version of.
IMAGE_NAMES = HERE / "internal" / "packaged" / "packaged.go"
IMAGE_MODULES = {
    "ImageDNS": "github.com/coredns/coredns",
    "ImageLocalPath": "github.com/rancher/local-path-provisioner",
}


def build_images(go: Go, work: Path, busybox: bytes) -> Path:
    """Build the images in one archive, as of `docker save`.

    `busybox` is a static one for the target: the image of helper pods.
    """
    names = image_names(go)
    program = compile_components(go, work)
    say("packing")
    archive = work / "airgap"
    arch = go.environment["GOARCH"]
    archive.write_bytes(compress(pack_images(arch, images(names, program, busybox))))
    return archive


def compile_components(go: Go, work: Path) -> bytes:
    """Compile cmd/components."""
    out = work / "out"
    overlay = write_overlay(
        work / "components.json",
        program_packages(go, work / "sources", "components", "programs", COMPONENTS),
    )
    compile_commands(go, ["components"], out, overlay)
    return (out / "components").read_bytes()


def image_names(go: Go) -> dict[str, str]:
    """The images' names by their constants. A tag that is not its module's version is an error."""
    names = dict(re.findall(r'^\t(Image\w+) += "(.+)"$', IMAGE_NAMES.read_text(), flags=re.M))
    for constant, module in IMAGE_MODULES.items():
        version = go.output("list", "-m", "-f={{.Version}}", module).strip()
        if names[constant].rpartition(":")[2].removeprefix("v") != version.removeprefix("v"):
            raise OSError(f"{IMAGE_NAMES}: {names[constant]}, but go.mod has {module} {version}")
    return names


@dataclass(frozen=True, kw_only=True)
class Image:
    """A container image: its layers, the lowest first, and its program."""

    name: str
    layers: Sequence[bytes]
    program: str


def images(names: Mapping[str, str], program: bytes, busybox: bytes) -> list[Image]:
    """The images, named and laid out as those that K3s's manifests refer to."""
    folders = [Entry(name=name) for name in ("usr", "usr/bin", "usr/lib")]
    shared = pack([*folders, Entry(name=COMPONENTS_PLACE, content=program)])
    local_path = "usr/bin/local-path-provisioner"
    shell = [
        Entry(name="bin"),
        Entry(name="bin/busybox", content=busybox),
        *(Entry(name=f"bin/{name}", target="busybox") for name in APPLETS),
    ]
    return [
        Image(
            name=names["ImageDNS"],
            layers=[shared, pack([Entry(name="coredns", target=COMPONENTS_PLACE)])],
            program="/coredns",
        ),
        Image(
            name=names["ImageLocalPath"],
            layers=[shared, pack([Entry(name=local_path, target="../lib/components")])],
            program="local-path-provisioner",
        ),
        Image(name=names["ImageHelper"], layers=[pack(shell)], program="sh"),
    ]


def pack_images(arch: str, made: Sequence[Image]) -> bytes:
    """An archive of `docker save`; a layer that images share is in it once."""
    files: dict[str, bytes] = {}
    manifest = []
    for image in made:
        digests = [hashlib.sha256(layer).hexdigest() for layer in image.layers]
        files |= {
            f"{digest}.tar": layer for digest, layer in zip(digests, image.layers, strict=True)
        }
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        config = {
            "architecture": arch,
            "os": "linux",
            "config": {"Entrypoint": [image.program], "Env": [path], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{digest}" for digest in digests]},
        }
        text = json.dumps(config, sort_keys=True).encode()
        name = f"{hashlib.sha256(text).hexdigest()}.json"
        files[name] = text
        manifest.append(
            {
                "Config": name,
                "RepoTags": [image.name],
                "Layers": [f"{digest}.tar" for digest in digests],
            }
        )
    files["manifest.json"] = json.dumps(manifest).encode()
    entries = [Entry(name=name, content=content) for name, content in sorted(files.items())]
    return pack(entries, root="")
