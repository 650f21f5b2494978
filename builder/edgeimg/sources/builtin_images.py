"""The container images that every gateway carries, composed from Debian packages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from edgeimg.arch import Arch
from edgeimg.errors import ArchiveError
from edgeimg.sources.deb import Deb
from edgeimg.sources.k3s_asset import is_static, require_machine
from edgeimg.sources.oci import ContainerImage, ImageConfig
from edgeimg.tree import Node, Tree, file, replace, symlink

PAUSE = "localhost/edgeimg/pause:1"
"""The program that holds a pod's namespaces."""
HELLO = "localhost/edgeimg/hello:1"
"""An HTTP server on port 8080. The smoke test requests HELLO_PAGE from it."""
HELLO_PAGE = b"edgeimg hello\n"


def builtin_images(arch: Arch, packages: Mapping[str, Deb]) -> tuple[ContainerImage, ...]:
    """The images `pause` and `hello`.

    `packages` has `catatonit` and `busybox-static` of `arch`. Raises ArchitectureError for those
    of another architecture, ArchiveError when one is missing or is not a static program.
    """
    catatonit = _program(packages, "catatonit", "usr/bin/catatonit", arch)
    busybox = _busybox(packages, arch)
    return (
        ContainerImage(
            name=PAUSE,
            tree=Tree().with_nodes({"catatonit": catatonit}),
            run=_PAUSE_CONFIG.to_json(),
        ),
        ContainerImage(name=HELLO, tree=_hello(busybox), run=_HELLO_CONFIG.to_json()),
    )


def static_busybox(packages: Iterable[Deb], arch: Arch) -> bytes:
    """The program of `busybox-static` of `arch`, for the stand-in's images.

    Raises ArchitectureError, ArchiveError.
    """
    return _busybox({package.name: package for package in packages}, arch).read()


def _busybox(packages: Mapping[str, Deb], arch: Arch) -> Node:
    return _program(packages, "busybox-static", "usr/bin/busybox", arch)


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


def _hello(busybox: Node) -> Tree:
    return Tree().with_nodes(
        {
            "bin/busybox": busybox,
            "bin/sh": symlink("busybox"),
            "www/index.html": file(HELLO_PAGE),
        }
    )


def _program(packages: Mapping[str, Deb], name: str, path: str, arch: Arch) -> Node:
    package = packages.get(name)
    if package is None or path not in package.tree:
        raise ArchiveError(
            f"no {path} for the built-in container images: is {name} in the lock?",
            hint="run `edgeimg lock`",
        )
    node = package.tree[package.tree.resolve(path)]
    program = node.read()
    label = f"{path} of the package {name} {package.version}"
    require_machine(program, arch, label)
    if not is_static(program):
        raise ArchiveError(f"{label} needs libraries; the built-in images have none")
    return replace(node, mode=0o755)
