"""Pod images → files of the root. Pods start from these files, which are never unpacked.

The files of an image are in the read-only root. containerd imports an image of one layer that
only names the directory with those files; the gateway then puts that directory in place of the
layer (overlays/base, import-images). So a file that pods share with the system is stored once and
in memory once, nothing is written when an image is imported, and dm-verity guards it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeimg.arch import Arch
from edgeimg.compose import container
from edgeimg.errors import ArchiveError
from edgeimg.recipe.image_name import short_name
from edgeimg.recipe.workloads import PodImage
from edgeimg.services.image import Image
from edgeimg.services.layout import ROOTFS
from edgeimg.sources import oci
from edgeimg.sources.deb import Deb
from edgeimg.sources.oci import ContainerImage, ImageConfig
from edgeimg.text.json_text import JsonObject
from edgeimg.tree import Node, Tree, file, replace
from edgeimg.workloads.layout import ARCHIVE, IMAGES, LIST, MARK

_USERS = {"root": (0, "/root"), "nobody": (65534, "/")}
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def make_pod_images(
    reference: str,
    pod: PodImage,
    arch: Arch,
    *,
    packages: Sequence[Deb],
    image: Image | None,
    project_files: Tree,
) -> ContainerImage:
    """One image as the recipe describes it; `given` are the project's files.

    Raises ArchiveError when packages contradict each other, or an image that is composed has no
    program.
    """
    if image is not None:
        return ContainerImage(
            name=reference,
            tree=image.tree.merge(project_files),
            run={**image.run, **_overrides(pod, image.run)},
        )
    tree = container.finish(
        container.from_packages(packages, project_files), _USERS, arch, libraries=bool(packages)
    )
    program = pod.command or ((f"/usr/bin/{short_name(reference)}",) if pod.binary else ())
    if not program:
        raise ArchiveError(
            f"the image {reference} has no command", hint="name the program to start"
        )
    run = ImageConfig(
        entrypoint=program,
        user=pod.numbers,
        env=tuple(f"{key}={value}" for key, value in _environment(pod).items()),
        workdir=pod.workdir or "/",
    )
    return ContainerImage(name=reference, tree=tree, run=run.to_json())


def compose_images(images: Sequence[ContainerImage], arch: Arch, epoch: int) -> Tree:
    """All images at their places in the root; time stamps are `epoch` (seconds)."""
    nodes: dict[str, Node] = {}
    pointers, directories = [], {}
    for image in sorted(images, key=lambda image: image.name):
        name = f"{short_name(image.name)}-{image.tree.digest()[:12]}"
        directories[image.name] = name
        base = f"{IMAGES}/{name}/{ROOTFS}"
        origin = f"image:{image.name}"
        nodes |= {f"{base}/{path}": _from(origin, node) for path, node in image.tree.items()}
        mark = Tree().with_nodes({MARK: file(f"{name}\n".encode())})
        pointers.append(ContainerImage(name=image.name, tree=mark, run=image.run))
    archive = oci.archive(pointers, arch, epoch)
    lines = [f"{name} {archive.digests[name]} {place}\n" for name, place in directories.items()]
    return Tree().with_nodes(
        {**nodes, ARCHIVE: file(archive.data), LIST: file("".join(lines).encode())}
    )


def read_listing(root: Tree) -> dict[str, tuple[str, str]]:
    """The images of a root by reference: ID and the path of their files."""
    text = root.read(LIST).decode() if LIST in root else ""
    rows = (line.split() for line in text.splitlines())
    return {name: (digest, f"{IMAGES}/{place}/{ROOTFS}") for name, digest, place in rows}


def _overrides(pod: PodImage, run: JsonObject) -> dict[str, object]:
    """Settings of the recipe that replace those of the container image."""
    overrides: dict[str, object] = {}
    if pod.command:
        overrides |= {"Entrypoint": list(pod.command), "Cmd": []}
    if pod.user:
        overrides["User"] = pod.user
    if pod.workdir:
        overrides["WorkingDir"] = pod.workdir
    if pod.environment:
        variables = [e for e in run.get("Env") or () if e.partition("=")[0] not in pod.environment]
        overrides["Env"] = [
            *variables,
            *(f"{key}={value}" for key, value in pod.environment.items()),
        ]
    return overrides


def _environment(pod: PodImage) -> Mapping[str, str]:
    return {"PATH": _PATH, **pod.environment}


def _from(origin: str, node: Node) -> Node:
    """Of the image, but for the project's files, which bills of materials name one by one."""
    from_project = node.origin.startswith("overlay:")
    return node if from_project else replace(node, origin=origin)
