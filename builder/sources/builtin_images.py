"""The container images that every gateway carries, composed from Debian packages."""

from __future__ import annotations

from collections.abc import Mapping

from builder.arch import Arch
from builder.errors import ArchiveError
from builder.sources.deb import Deb
from builder.sources.k3s_asset import is_static, require_machine
from builder.sources.oci import ImageConfig, compose
from builder.tree import Content, Node, Tree, file, symlink

PAUSE = "localhost/edgeimg/pause:1"
"""What holds a pod's namespaces."""
HELLO = "localhost/edgeimg/hello:1"
"""An HTTP server on port 8080; the smoke test asks it for HELLO_PAGE."""
HELLO_PAGE = b"edgeimg hello\n"
DIRECTORY = "usr/share/edgeimg/images"
_ORIGIN = "images"


def builtin_images(arch: Arch, packages: Mapping[str, Deb], *, epoch: int) -> Tree:
    """`pause.tar` and `hello.tar` at their place in the root; all time stamps are `epoch` (s).

    `packages` has `catatonit` and `busybox-static` of `arch`. Raises ArchitectureError for those
    of another architecture, ArchiveError when one is missing or is not a static program.
    """
    catatonit = _program(packages, "catatonit", "usr/bin/catatonit", arch)
    busybox = _program(packages, "busybox-static", "usr/bin/busybox", arch)
    archives = {
        "pause": compose(PAUSE, _pause(catatonit), _PAUSE_CONFIG, arch, epoch),
        "hello": compose(HELLO, _hello(busybox), _HELLO_CONFIG, arch, epoch),
    }
    return Tree().with_nodes(
        {f"{DIRECTORY}/{name}.tar": _file(data) for name, data in archives.items()}
    )


_PAUSE_CONFIG = ImageConfig(
    entrypoint=("/catatonit", "-P"),
    labels=(("org.opencontainers.image.title", "pause"),),
)
_HELLO_CONFIG = ImageConfig(
    entrypoint=("/bin/busybox",),
    command=("httpd", "-f", "-p", "8080", "-h", "/www"),
    ports=("8080/tcp",),
    labels=(("org.opencontainers.image.title", "hello"),),
)


def _pause(catatonit: bytes) -> Tree:
    return Tree().with_nodes({"catatonit": _file(catatonit, mode=0o755)})


def _hello(busybox: bytes) -> Tree:
    return Tree().with_nodes(
        {
            "bin/busybox": _file(busybox, mode=0o755),
            "bin/sh": symlink("busybox", origin=_ORIGIN),
            "www/index.html": _file(HELLO_PAGE),
        }
    )


def _file(data: Content, mode: int = 0o644) -> Node:
    return file(data, mode=mode, origin=_ORIGIN)


def _program(packages: Mapping[str, Deb], name: str, path: str, arch: Arch) -> bytes:
    package = packages.get(name)
    if package is None or path not in package.tree:
        raise ArchiveError(
            f"no {path} for the built-in container images: is {name} in the lock?",
            hint="run `edgeimg lock`",
        )
    program = package.tree.read(path)
    label = f"{path} of the package {name} {package.version}"
    require_machine(program, arch, label)
    if not is_static(program):
        raise ArchiveError(f"{label} needs libraries; the built-in images have none")
    return program
