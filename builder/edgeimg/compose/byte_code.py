"""Python's modules as byte code: the work of py3compile(1).

Without it, Python compiles every module at each start, for the root is read-only. The files are
valid whatever the time stamps of the modules are (PEP 552, unchecked), and have the same bytes on
every host.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from edgeimg import tools
from edgeimg.cache.store import Store, key
from edgeimg.errors import LockError
from edgeimg.lock.model import Lock, Package
from edgeimg.tools import Toolbox
from edgeimg.tree import Kind, Tree
from edgeimg.tree.overlay import from_directory

GROUP = "python"
"""The group of tools of a lock whose image gets byte code; see `with_interpreter`."""
_MINIMAL = re.compile(r"python3\.\d+-minimal")
_MODULES = re.compile(r"usr/lib/python3(\.\d+|/dist-packages)/(.*/)?[^/]+\.py")
_SCRIPT = Path(__file__).with_name("compile_modules.py")
_LIBRARIES = ("libc6", "libexpat1", "zlib1g")
_TIMEOUT = 1200.0
_VERSION = "1"


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """The Python of an image as a program for the build host."""

    toolbox: Toolbox
    name: str
    """`python3.13`"""
    version: str
    """Of its package."""


def with_interpreter(lock: Lock) -> Lock:
    """The lock with the tools group `GROUP`: the Python of its images, for the hosts among them.

    Raises LockError when the images have several versions of it: byte code would depend on the
    host.
    """
    roots = {arch: image.groups["root"] for arch, image in lock.images.items()}
    found = {arch: package for arch, root in roots.items() if (package := _minimal(root))}
    versions = {(package.name, package.version) for package in found.values()}
    if len(versions) != 1:
        known = ", ".join(" ".join(one) for one in sorted(versions)) or "none"
        raise LockError(f"the images of the lock have no common version of Python: {known}")
    group = {arch: _packages(roots[arch], package) for arch, package in found.items()}
    return replace(lock, tools={**lock.tools, GROUP: group})


def interpreter(lock: Lock, toolbox: Toolbox) -> Interpreter:
    """The program in the tools tree of `GROUP`. Raises LockError when it has none."""
    package = _minimal(tools.packages(lock, GROUP, toolbox.host))
    if package is None:
        raise LockError("the lock has no Python that compiles modules")
    name = package.name.removesuffix("-minimal")
    return Interpreter(toolbox=toolbox, name=name, version=package.version)


def compile_modules(root: Tree, python: Interpreter, store: Store) -> Tree:
    """The root with the byte code of all modules.

    Raises ToolError that names a module which is no Python.
    """
    modules = Tree().with_nodes(
        {
            path: node
            for path, node in root.items()
            if node.kind is Kind.FILE and _MODULES.fullmatch(path)
        }
    )

    def make(result: Path) -> None:
        source = result.with_name("source")
        modules.extract(source)
        result.mkdir()
        toolbox = python.toolbox
        toolbox.run(
            # Neither the host's modules nor those beside the script are imported.
            python.name, "-S", "-B", "-P", _SCRIPT, source, result,
            timeout=_TIMEOUT, env={"PYTHONHOME": str(toolbox.root / "usr")},
        )  # fmt: skip

    script = _SCRIPT.read_text()
    name = key("byte-code", _VERSION, script, python.name, python.version, modules.digest())
    compiled = from_directory(store.derived(name, make), origin="")
    files = {path: node for path, node in compiled.items() if node.kind is Kind.FILE}
    return root.with_nodes(
        {path: replace(node, origin=modules[_module(path)].origin) for path, node in files.items()}
    )


def _module(path: str) -> str:
    """The module of a file: `a/__pycache__/b.cpython-313.pyc` → `a/b.py`."""
    directory, _, name = path.partition("__pycache__/")
    return f"{directory}{name.rsplit('.', 2)[0]}.py"


def _minimal(packages: Iterable[Package]) -> Package | None:
    """The package with the program."""
    return next((package for package in packages if _MINIMAL.fullmatch(package.name)), None)


def _packages(packages: Sequence[Package], minimal: Package) -> tuple[Package, ...]:
    """Python without what only other programs need."""
    name = minimal.name.removesuffix("-minimal")
    wanted = {minimal.name, f"lib{name}-minimal", f"lib{name}-stdlib", *_LIBRARIES}
    return tuple(package for package in packages if package.name in wanted)
