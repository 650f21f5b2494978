"""The contents of a service's container → the tree of its root. Nothing of it runs here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeimg.arch import Arch
from edgeimg.compose import container
from edgeimg.errors import ArchiveError
from edgeimg.recipe.services import Service
from edgeimg.services.image import Image
from edgeimg.services.layout import INIT
from edgeimg.services.spec import command, environment, mount_points
from edgeimg.sources.deb import Deb
from edgeimg.tree import Content, Kind, Node, Tree, directory, file, replace

_BELOW_TMPFS = ("/dev", "/run", "/tmp", "/proc", "/sys")  # noqa: S108 - in the container


def make(
    name: str,
    service: Service,
    uid: int,
    *,
    arch: Arch,
    packages: Sequence[Deb],
    image: Image | None,
    project_files: Tree,
    init: Content,
) -> Tree:
    """The root of one container: packages or a container image, the project's files on top,
    accounts, mount points.

    `given` are the project's files, `init` is the static program that becomes process 1, `uid`
    the number of the service's own user. Raises ArchiveError when packages contradict each other
    or the command is not in it.
    """
    if image is None:
        tree = container.from_packages(packages, project_files)
    else:
        tree = image.tree.with_nodes(_directories(image.tree)).merge(project_files)
    users = {"root": (0, "/root"), **({name: (uid, "/")} if service.user == "own" else {})}
    tree = container.finish(_without_privileges(tree), users, arch, libraries=bool(packages))
    tree = tree.with_nodes({INIT: file(init, mode=0o755)})
    if service.network != "host" and "etc/hostname" not in tree:  # else it has the gateway's
        tree = tree.with_nodes({"etc/hostname": file(f"{name}\n".encode())})
    tree = tree.with_nodes(_mount_points(tree, service))
    _require_command(tree, name, service, image or Image())
    return tree


def _without_privileges(tree: Tree) -> Tree:
    """No program gains rights by starting another, in the container; nor may it on the gateway."""
    marked = {p: node for p, node in tree.items() if node.mode & 0o6000 and node.kind is Kind.FILE}
    return tree.with_nodes(
        {path: replace(node, mode=node.mode & 0o1777) for path, node in marked.items()}
    )


def _directories(tree: Tree) -> Mapping[str, Node]:
    """Mount points of every container that the image lacks."""
    paths = [path.lstrip("/") for path in _BELOW_TMPFS]
    return {path: directory() for path in paths if tree.resolve(path) not in tree}


def _mount_points(tree: Tree, service: Service) -> Mapping[str, Node]:
    """Empty files and directories to mount over. Mounts in memory need none."""
    files = {mount.target for mount in service.mounts if mount.kind == "file"}
    targets = [*mount_points(service), *(["/etc/resolv.conf"] if service.network == "host" else [])]
    nodes: dict[str, Node] = {}
    for target in targets:
        if any(target == place or target.startswith(f"{place}/") for place in _BELOW_TMPFS):
            continue
        path = tree.resolve(target)
        if path not in tree:
            is_file = target in files or target == "/etc/resolv.conf"
            nodes[path] = file(b"") if is_file else directory()
    return nodes


def _require_command(tree: Tree, name: str, service: Service, image: Image) -> None:
    """Raises ArchiveError when the program is not there: better now than on the gateway."""
    program = command(name, service, image)[0]
    path = environment(service, image)["PATH"].split(":")
    places = [program] if "/" in program else [f"{directory}/{program}" for directory in path]
    mounted = [mount.target for mount in service.mounts]
    if any(program.startswith(f"{target}/") for target in mounted):
        return
    for place in places:
        node = tree.get(tree.resolve(place))
        if node is not None and node.kind is Kind.FILE and node.mode & 0o111:
            return
    raise ArchiveError(
        f"services.{name}: its container has no program {program}",
        hint="name a package that has it, or give its path",
    )
