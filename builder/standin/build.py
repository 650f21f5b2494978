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
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import zstandard

HERE = Path(__file__).resolve().parent

# What the release names its files.
ASSET_NAMES = {"amd64": "k3s", "arm64": "k3s-arm64", "arm": "k3s-armhf"}

TAGS = (
    "netgo",
    "osusergo",
    "static_build",
    "no_btrfs",
    "no_devmapper",
    "no_zfs",
    "no_aufs",
    "no_tracing",
    "grpcnotrace",
    "urfave_cli_no_docs",
)

# The linker strips what debuggers read (LINK_FLAGS), so it need not be compiled.
FLAGS = ("-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false", "-tags=" + ",".join(TAGS))
LINK_FLAGS = "-s -w -buildid="

# Everything that changes the output of the compiler, set whatever the caller
# has in its environment.
GO_ENVIRONMENT = {
    "CGO_ENABLED": "0",
    "GOOS": "linux",
    "GOAMD64": "v1",
    "GOARM64": "v8.0",
    "GOARM": "7",
    "GOEXPERIMENT": "",
    "GOFIPS140": "off",
    "GOFLAGS": "",
    "GOWORK": "off",
}

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

MODULE = "edgeimg.local/standin"
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

# K3s compresses with "zstd --long=25", so consumers must allow that window.
WINDOW_LOG = 25
LEVEL = 9

NOTE = "This folder is the edgeimg stand-in's, for tests and demonstrations. It is not K3s.\n"


@dataclass(frozen=True, kw_only=True)
class Go:
    """A Go toolchain set up for one target architecture."""

    program: str
    environment: Mapping[str, str]

    def output(self, *arguments: str) -> str:
        """Run a go command and return what it prints."""
        done = subprocess.run(
            [self.program, *arguments],
            cwd=HERE,
            env=self.environment,
            check=True,
            text=True,
            stdout=subprocess.PIPE,
        )
        return done.stdout


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file, a link (with a target) or a folder (with neither) of the bundle."""

    name: str
    content: bytes | None = None
    target: str | None = None


def build(arch: str, output: Path, go_program: str) -> Path:
    """Build the stand-in and publish it as output, or in it if it is a folder."""
    if output.is_dir():
        output = output / ASSET_NAMES[arch]
    go = Go(program=go_program, environment={**os.environ, **GO_ENVIRONMENT, "GOARCH": arch})
    with tempfile.TemporaryDirectory(prefix="standin-") as temporary:
        work = Path(temporary)
        say("downloading modules")
        go.output("mod", "download")
        programs = compile_programs(go, work)
        say("packing")
        asset = compress(pack(bundle(programs)))
        name = f"{hashlib.sha256(asset).hexdigest()}.tar.zst"
        say(f"asset {name}, {len(asset)} bytes")
        publish(compile_wrapper(go, work, name, asset), output)
    say(f"wrote {output}, {output.stat().st_size} bytes")
    return output


def build_airgap(arch: str, busybox: Path, output: Path, go_program: str) -> Path:
    """Build the images of the components in one archive, as of `docker save`.

    `busybox` is a static one for `arch`: the image of helper pods.
    """
    go = Go(program=go_program, environment={**os.environ, **GO_ENVIRONMENT, "GOARCH": arch})
    with tempfile.TemporaryDirectory(prefix="standin-") as temporary:
        work = Path(temporary)
        say("downloading modules")
        go.output("mod", "download")
        names = image_names(go)
        program = compile_components(go, work)
        say("packing")
        made = work / "airgap"
        made.write_bytes(compress(pack_images(arch, images(names, program, busybox.read_bytes()))))
        publish(made, output)
    say(f"wrote {output}, {output.stat().st_size} bytes")
    return output


def compile_components(go: Go, work: Path) -> bytes:
    """Compile cmd/components."""
    out = work / "components"
    overlay = write_overlay(
        work / "components.json",
        program_packages(go, work / "sources", "components", "programs", COMPONENTS),
    )
    total = len(
        go.output("list", "-deps", *FLAGS, f"-overlay={overlay}", "./cmd/components").split()
    )
    arguments = [*FLAGS, f"-ldflags={LINK_FLAGS}", f"-overlay={overlay}", "-o", str(out)]
    compile_counting(go, [*arguments, "./cmd/components"], total)
    return out.read_bytes()


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


def compile_programs(go: Go, work: Path) -> dict[str, bytes]:
    """Compile the programs of the bundle; their content by name."""
    out = work / "out"
    out.mkdir()
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
    commands = [f"./cmd/{command}" for command in PROGRAMS]
    total = len(go.output("list", "-deps", *FLAGS, f"-overlay={overlay}", *commands).split())
    link = f"-ldflags={LINK_FLAGS} {version_flags(go)}"
    compile_counting(go, [*FLAGS, link, f"-overlay={overlay}", "-o", f"{out}/", *commands], total)
    return {name: (out / command).read_bytes() for command, name in PROGRAMS.items()}


def version_flags(go: Go) -> str:
    """Linker flags that tell Kubernetes' parts which version they are."""
    version = go.output("list", "-m", "-f={{.Version}}", "k8s.io/kubernetes").strip()
    major, minor = version.removeprefix("v").split(".")[:2]
    values = {"gitVersion": f"{version}+standin", "gitMajor": major, "gitMinor": minor}
    return " ".join(
        f"-X k8s.io/component-base/version.{name}={value}" for name, value in values.items()
    )


def compile_counting(go: Go, arguments: Sequence[str], total: int) -> None:
    """Run go build and print progress. Packages from the cache are not counted
    as they pass, so the count may jump to the total at the end."""
    command = [go.program, "build", "-v", *arguments]
    say(f"progress 0 {total}")
    done = 0
    complaints = []
    with subprocess.Popen(
        command, cwd=HERE, env=go.environment, text=True, stderr=subprocess.PIPE
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if re.fullmatch(r"[\w./~-]+\n", line):
                done += 1
                say(f"progress {min(done, total)} {total}")
            else:
                complaints.append(line)
    if process.returncode != 0:
        raise subprocess.CalledProcessError(process.returncode, command, stderr="".join(complaints))
    say(f"progress {total} {total}")


def program_packages(
    go: Go, folder: Path, command: str, variable: str, programs: Mapping[str, str]
) -> dict[Path, Path]:
    """Copy the sources of programs, packages by name, so that cmd/`command` can import them.

    In the copy the package has a name of its own and its main function is exported. One more file
    registers them in the command's `variable`. Returns where the copies shall seem to be.
    """
    here = HERE / "cmd" / command
    imports, registrations, places = "", "", {}
    for name, path in sorted(programs.items()):
        package = name.replace("-", "")
        for copy in export_program(go, path, folder / package):
            places[here / variable / package / copy.name] = copy
        imports += f'import "{MODULE}/cmd/{command}/{variable}/{package}"\n'
        registrations += f'func init() {{ {variable}["{name}"] = {package}.Main }}\n'
    register = folder / "register.go"
    register.write_text(f"package main\n{imports}{registrations}")
    places[here / "register.go"] = register
    return places


def export_program(go: Go, program: str, folder: Path) -> list[Path]:
    """Write a program's sources to a folder, as a package with a function Main."""
    listed = json.loads(go.output("list", "-json=Dir,GoFiles", program))
    folder.mkdir(parents=True)
    copies, mains = [], 0
    for name in listed["GoFiles"]:
        text = Path(listed["Dir"], name).read_text()
        text, renamed = re.subn(
            r"^package main$", f"package {folder.name}", text, count=1, flags=re.M
        )
        text, exported = re.subn(r"^func main\(\) \{$", "func Main() {", text, flags=re.M)
        if renamed != 1:
            raise OSError(
                f"{listed['Dir']}/{name}: no line 'package main'; has the module changed?"
            )
        mains += exported
        copies.append(folder / name)
        copies[-1].write_text(text)
    if mains != 1:
        raise OSError(
            f"{listed['Dir']}: {mains} main functions, expected 1; has the module changed?"
        )
    return copies


def write_overlay(path: Path, replacements: Mapping[Path, Path]) -> Path:
    """Write a file for go build -overlay."""
    path.write_text(
        json.dumps({"Replace": {str(seen): str(real) for seen, real in replacements.items()}})
    )
    return path


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


def pack(entries: Sequence[Entry], root: str = "./") -> bytes:
    """Write a tar archive that holds nothing of where and when it was made."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for entry in entries:
            info = tarfile.TarInfo(f"{root}{entry.name}")
            info.mode = 0o755
            if entry.target is not None:
                info.type, info.linkname, info.mode = tarfile.SYMTYPE, entry.target, 0o777
            elif entry.content is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(entry.content)
                info.mode = 0o755 if entry.content.startswith(b"\x7fELF") else 0o644
            archive.addfile(info, io.BytesIO(entry.content) if entry.content is not None else None)
    return target.getvalue()


def compress(data: bytes) -> bytes:
    """Compress in one zstd frame. The number of threads, if there are any,
    makes no difference to the result."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        LEVEL,
        source_size=len(data),
        window_log=WINDOW_LOG,
        enable_ldm=True,
        threads=max(os.cpu_count() or 1, 2),
        write_checksum=True,
    )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


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


def publish(made: Path, output: Path) -> None:
    """Put the file in place at once, so that no half of it is ever seen."""
    output.parent.mkdir(parents=True, exist_ok=True)
    beside = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        shutil.copyfile(made, beside)
        beside.chmod(0o755)
        beside.replace(output)
    finally:
        beside.unlink(missing_ok=True)


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


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
    try:
        if arguments.airgap:
            print(build_airgap(arguments.arch, arguments.airgap, output, arguments.go))
        else:
            print(build(arguments.arch, output, arguments.go))
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
