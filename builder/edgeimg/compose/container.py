"""Debian packages and files of the project → the root of a container. Nothing of it runs here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeimg.arch import Arch
from edgeimg.compose import dpkg_root
from edgeimg.compose.certificates import bundle_certificates
from edgeimg.compose.identity import add_defaults
from edgeimg.compose.ldcache import add_cache
from edgeimg.compose.prune import prune
from edgeimg.sources.deb import Deb
from edgeimg.tree import Node, Tree, directory, file, symlink

_BUSYBOX, _SHELL = "usr/bin/busybox", "usr/bin/sh"
"""The package makes no links, and scripts begin with /bin/sh."""
_PRUNED = ("etc/default", "usr/lib/systemd", "usr/lib/sysusers.d", "usr/lib/tmpfiles.d")
"""Of packages: for a system that starts services itself."""


def from_packages(packages: Sequence[Deb], project_files: Tree) -> Tree:
    """Packages, with the project's files `given` on top.

    Raises ArchiveError when packages contradict each other.
    """
    tree = prune(add_defaults(dpkg_root.merge(packages)), _PRUNED)
    return bundle_certificates(tree).merge(project_files)


def finish(
    tree: Tree, users: Mapping[str, tuple[int, str]], arch: Arch, *, libraries: bool
) -> Tree:
    """Adds what a container's root needs and lacks: accounts, a shell, a library cache.

    `users` are numbers and home directories by name; a group goes with each. `libraries` asks for
    the cache.
    """
    nodes = _accounts(users)
    if tree.resolve("var/run") not in tree:
        nodes["var/run"] = symlink("../run")
    if _BUSYBOX in tree:
        nodes[_SHELL] = symlink("busybox")
    tree = tree.with_nodes({path: node for path, node in nodes.items() if path not in tree})
    return add_cache(tree, arch) if libraries else tree


def _accounts(users: Mapping[str, tuple[int, str]]) -> dict[str, Node]:
    passwd = "".join(f"{u}:x:{n}:{n}:{u}:{home}:/bin/sh\n" for u, (n, home) in users.items())
    group = "".join(f"{u}:x:{n}:\n" for u, (n, _) in users.items())
    return {
        "etc/passwd": file(passwd.encode()),
        "etc/group": file(f"{group}tty:x:5:\n".encode()),
        "etc/hosts": file(b"127.0.0.1 localhost\n::1 localhost\n"),
        "root": directory(mode=0o700),
    }
