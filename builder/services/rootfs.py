"""What a service's container is made of → the tree of its root. Nothing of it runs here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.arch import Arch
from builder.compose import packages as debian
from builder.compose.certificates import bundle_certificates
from builder.compose.identity import add_defaults
from builder.compose.ldcache import add_cache
from builder.compose.prune import prune
from builder.errors import ArchiveError
from builder.recipe_services import Service
from builder.services.image import Image
from builder.services.layout import INIT
from builder.services.spec import command, environment, mount_points
from builder.sources.deb import Deb
from builder.tree import Content, Kind, Node, Tree, directory, file, replace, symlink

_BELOW_TMPFS = ("/dev", "/run", "/tmp", "/proc", "/sys")  # noqa: S108 - in the container
_BUSYBOX, _SHELL = "usr/bin/busybox", "usr/bin/sh"
"""The package makes no links, and scripts begin with /bin/sh."""
_PRUNED = ("etc/default", "usr/lib/systemd", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d")
"""Of packages: for a system that starts services itself."""


def make(
    name: str,
    service: Service,
    uid: int,
    *,
    arch: Arch,
    packages: Sequence[Deb],
    image: Image | None,
    given: Tree,
    init: Content,
) -> Tree:
    """The root of one container: packages or a container image, the project's files on top,
    accounts, mount points.

    `given` are the project's files, `init` is the static program that becomes process 1, `uid`
    the number of the service's own user. Raises ArchiveError when packages contradict each other
    or the command is not in it.
    """
    if image is None:
        tree = prune(add_defaults(debian.merge(packages)), _PRUNED)
        tree = bundle_certificates(tree).merge(given)
    else:
        tree = image.tree.with_nodes(_directories(image.tree)).merge(given)
    tree = _without_privileges(tree).with_nodes(_accounts(tree, name, service, uid))
    tree = tree.with_nodes({INIT: file(init, mode=0o755)})
    if tree.resolve("var/run") not in tree:
        tree = tree.with_nodes({"var/run": symlink("../run")})
    if _BUSYBOX in tree and _SHELL not in tree:
        tree = tree.with_nodes({_SHELL: symlink("busybox")})
    tree = tree.with_nodes(_mount_points(tree, service))
    _require_command(tree, name, service, image or Image())
    return add_cache(tree, arch) if packages else tree


def _without_privileges(tree: Tree) -> Tree:
    """No program gains rights by starting another, in the container; nor may it on the gateway."""
    marked = {p: node for p, node in tree.items() if node.mode & 0o6000 and node.kind is Kind.FILE}
    return tree.with_nodes(
        {path: replace(node, mode=node.mode & 0o1777) for path, node in marked.items()}
    )


def _directories(tree: Tree) -> Mapping[str, Node]:
    """What every container has mounted, where the image has no place for it."""
    needed = [path.lstrip("/") for path in _BELOW_TMPFS]
    return {path: directory() for path in needed if tree.resolve(path) not in tree}


def _accounts(tree: Tree, name: str, service: Service, uid: int) -> Mapping[str, Node]:
    users = {"root": (0, "/root")}
    if service.user == "own":
        users[name] = (uid, "/")
    passwd = "".join(f"{u}:x:{n}:{n}:{u}:{home}:/bin/sh\n" for u, (n, home) in users.items())
    group = "".join(f"{u}:x:{n}:\n" for u, (n, _) in users.items())
    nodes = {
        "etc/passwd": file(passwd.encode()),
        "etc/group": file(f"{group}tty:x:5:\n".encode()),
        "etc/hosts": file(b"127.0.0.1 localhost\n::1 localhost\n"),
        "etc/hostname": file(f"{name}\n".encode()),
        "root": directory(mode=0o700),
    }
    if service.network == "host":
        del nodes["etc/hostname"]  # it has the gateway's
    return {path: node for path, node in nodes.items() if path not in tree}


def _mount_points(tree: Tree, service: Service) -> Mapping[str, Node]:
    """Empty files and directories to mount over; what is in memory only needs none."""
    files = {mount.target for mount in service.mounts if mount.kind == "file"}
    wanted = [*mount_points(service), *(["/etc/resolv.conf"] if service.network == "host" else [])]
    nodes: dict[str, Node] = {}
    for target in wanted:
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
