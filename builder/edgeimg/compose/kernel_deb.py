"""The kernel package: its image, and a selection of its modules with everything they need."""

from __future__ import annotations

import difflib
import fnmatch
import itertools
import json
import re
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from edgeimg.cache.store import Store, disk_errors, key
from edgeimg.compose import modinfo, module_files
from edgeimg.compose.modinfo import ModInfo
from edgeimg.compose.module_files import Module
from edgeimg.compose.vendor import Vendor
from edgeimg.errors import ArchiveError, RecipeError
from edgeimg.sources import tree_index
from edgeimg.sources.deb import Deb
from edgeimg.tree import Content, Kind, Node, Span, Tree

_VERSION = "1"
_MODULE = re.compile(r"\.ko(\.xz|\.zst)?$")
_ALIASED = ("crypto/", "lib/", "arch/")
"""Where the modules are that others name by alias in soft dependencies (`crypto-crc32c`)."""


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """One kernel of one architecture."""

    version: str
    """As in `uname -r`: the name of its module directory."""
    image: Content
    config: Content
    """Its build configuration (`CONFIG_…=y` lines); empty when the package lacks it."""
    modules: Tree = field(repr=False)
    """`usr/lib/modules/<version>/…` as the package has it: compressed, without indices."""
    control: str
    """The package's control file; empty for a vendor's kernel."""
    sha256: str
    """Digest of the package."""
    origin: str
    package: Tree = field(default_factory=Tree, repr=False)
    """All files that came with it: device trees, licences."""
    vendor: Vendor | None = None
    """None for Debian's."""

    @property
    def directory(self) -> str:
        """Where its modules are."""
        return f"usr/lib/modules/{self.version}"

    @cached_property
    def paths(self) -> dict[str, str]:
        """Paths of all modules, relative to `kernel/`, without suffix, by name."""
        start = f"{self.directory}/kernel/"
        return {
            name: _MODULE.sub("", path.removeprefix(start)) for name, path in self.files.items()
        }

    @cached_property
    def names(self) -> list[tuple[str, str]]:
        """Paths and names of all modules, as in `paths`, in the order of the paths."""
        return sorted((path, name) for name, path in self.paths.items())

    def matching(self, pattern: str) -> set[str]:
        """Names of the modules whose path, as in `paths`, fits a glob."""
        test = re.compile(fnmatch.translate(pattern)).match
        start = re.split(r"[*?[]", pattern, maxsplit=1)[0]
        rows = itertools.islice(self.names, bisect_left(self.names, (start, "")), None)
        near = itertools.takewhile(lambda row: row[0].startswith(start), rows)
        return {name for path, name in near if test(path)}

    @cached_property
    def files(self) -> dict[str, str]:
        """Paths of all modules in the tree, by name."""
        return {
            name_of(path): path
            for path, node in self.modules.items()
            if path.startswith(f"{self.directory}/kernel/")
            and node.kind is Kind.FILE
            and _MODULE.search(path)
        }

    @cached_property
    def options(self) -> dict[str, str]:
        """The options of its configuration that are set, without `CONFIG_`."""
        config = Node(
            kind=Kind.FILE, mode=0o644, content=self.config, origin="the kernel's package"
        )
        text = config.text(f"boot/config-{self.version}")
        pairs = (line.removeprefix("CONFIG_").partition("=") for line in text.splitlines())
        return {name: value for name, equals, value in pairs if equals and name[:1] not in "#"}

    @cached_property
    def builtin(self) -> frozenset[str]:
        """Names of the modules that are part of the image."""
        path = f"{self.directory}/modules.builtin"
        listing = self.modules.get(path)
        lines = listing.text(path).splitlines() if listing else []
        return frozenset(name_of(line) for line in lines)


def name_of(path: str) -> str:
    """The module's name: the file's, with underscores."""
    return _MODULE.sub("", path.rpartition("/")[2]).replace("-", "_")


def from_deb(deb: Deb) -> Kernel:
    """The kernel in Debian's `linux-image-*` package. Raises ArchiveError without a kernel."""
    versions = {
        path.split("/")[3]
        for path, _ in deb.tree.items()
        if re.match(r"usr/lib/modules/[^/]+$", path)
    }
    if len(versions) != 1:
        raise ArchiveError(f"{deb.name} holds modules of {len(versions)} kernels, expected one")
    (version,) = versions
    image = deb.tree.get(f"boot/vmlinuz-{version}")
    if image is None or image.kind is not Kind.FILE:
        raise ArchiveError(f"{deb.name} holds no /boot/vmlinuz-{version}")
    config = deb.tree.get(f"boot/config-{version}")
    prefix = f"usr/lib/modules/{version}/"
    return Kernel(
        version=version,
        image=image.content,
        config=config.content if config else b"",
        modules=Tree({path: node for path, node in deb.tree.items() if path.startswith(prefix)}),
        control=deb.control_text,
        sha256=deb.sha256,
        origin=image.origin,
        package=deb.tree,
    )


def select(
    kernel: Kernel,
    patterns: Sequence[str],
    exclude: Sequence[str] = (),
    *,
    store: Store,
    strict: bool = True,
) -> Tree:
    """The modules that `patterns` name, those they depend on, and the indices of modprobe.

    A pattern is a module's name (`ext4`), or a glob over paths below `kernel/` without suffix
    (`drivers/net/usb/*`; `*` also matches `/`). What matches `exclude` is left out, and so is
    whatever needs it. Modules are decompressed. Names built into the kernel are fine and bring
    nothing. With `strict`, a pattern that fits no module raises RecipeError. The result is cached.
    """
    selected = sorted(match(kernel, patterns, strict=strict))
    dropped = sorted(match(kernel, exclude, strict=False))

    def make(result: Path) -> None:
        result.mkdir()
        _make(kernel, selected, set(dropped), result)

    facts = json.dumps([selected, dropped])
    cached = store.derived(key("modules", _VERSION, kernel.sha256, facts), make)
    rows = json.loads((cached / "index.json").read_text())
    return Tree().with_nodes(tree_index.nodes(rows, cached / "data", origin="kernel"))


def match(
    kernel: Kernel, patterns: Iterable[str], *, strict: bool, key: str = "kernel.modules"
) -> set[str]:
    """Names of the modules that fit the patterns. Pure; see `select`."""
    matches: set[str] = set()
    for pattern in patterns:
        if any(char in pattern for char in "*?[/"):
            names = kernel.matching(pattern)
        else:
            name = pattern.replace("-", "_")
            names = {name} if name in kernel.paths else set()
            if name in kernel.builtin:
                continue
        if strict and not names:
            near = difflib.get_close_matches(pattern, kernel.paths, n=1)
            raise RecipeError(
                f"{key}: {pattern!r} fits no module of Linux {kernel.version}",
                hint=f"did you mean {near[0]!r}?" if near else None,
            )
        matches |= names
    return matches


def module_firmware(kernel: Kernel, patterns: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """By module: firmware that the modules of `patterns` and their dependencies request.

    Raises RecipeError for a pattern that fits no module.
    """
    selected = sorted(match(kernel, patterns, strict=True, key="firmware.modules"))
    infos = _close(_Reader(kernel), selected, set())
    return {name: info.firmware for name, info in sorted(infos.items()) if info.firmware}


def _make(kernel: Kernel, selected: list[str], dropped: set[str], result: Path) -> None:
    reader = _Reader(kernel)
    loaded = _close(reader, selected, dropped)
    ranks = order(kernel)
    modules = [
        Module(name=name, path=f"kernel/{kernel.paths[name]}.ko", info=info)
        for name, info in sorted(loaded.items(), key=lambda item: ranks.get(item[0], len(ranks)))
    ]
    contents = {module.path: reader.data[module.name] for module in modules}
    contents |= module_files.indices(modules, kernel.builtin, _builtin_files(kernel))
    nodes: dict[str, Node] = {}
    data = result / "data"
    with disk_errors(data), data.open("wb") as output:
        for path, content in contents.items():
            span = Span(data, output.tell(), len(content))
            nodes[f"{kernel.directory}/{path}"] = Node(kind=Kind.FILE, mode=0o644, content=span)
            output.write(content)
        (result / "index.json").write_text(json.dumps(tree_index.rows(nodes)))


def _builtin_files(kernel: Kernel) -> dict[str, bytes]:
    names = ("modules.builtin", "modules.builtin.modinfo")
    nodes = {name: kernel.modules.get(f"{kernel.directory}/{name}") for name in names}
    return {name: node.read() for name, node in nodes.items() if node}


def order(kernel: Kernel) -> dict[str, int]:
    """Ranks from modules.order: which module comes first where several claim one device."""
    path = f"{kernel.directory}/modules.order"
    listing = kernel.modules.get(path)
    lines = listing.text(path).splitlines() if listing else sorted(kernel.paths.values())
    return {name_of(line): rank for rank, line in enumerate(lines)}


def _close(reader: _Reader, selected: list[str], dropped: set[str]) -> dict[str, ModInfo]:
    """The selected modules and their dependencies, without dropped ones and their dependents."""
    kernel, visited = reader.kernel, set(selected) - dropped
    wave, infos = sorted(visited), dict[str, ModInfo]()
    while wave:
        infos |= reader.read(wave)
        required = {name for module in wave for name in _needs(reader, infos[module])}
        wave = sorted(name for name in required - visited - dropped if name in kernel.paths)
        visited |= set(wave)
    broken = set(dropped)
    while True:
        more = {n for n, info in infos.items() if n not in broken and broken & set(info.depends)}
        if not more:
            break
        broken |= more
    for name, info in infos.items():
        if info.release not in ("", kernel.version):
            raise ArchiveError(
                f"kernel module {name} is built for Linux {info.release}, not {kernel.version}"
            )
        missing = set(info.depends) - infos.keys() - kernel.builtin - broken
        if missing:
            raise ArchiveError(f"kernel module {name} needs {min(missing)}, which is not there")
    return {name: info for name, info in infos.items() if name not in broken}


def _needs(reader: _Reader, info: ModInfo) -> set[str]:
    """Hard dependencies, and soft ones by name or alias."""
    required = set(info.depends)
    for name in (*info.before, *info.after):
        if name in reader.kernel.paths or name in reader.kernel.builtin:
            required.add(name)
        else:
            required |= reader.aliases.get(name, set())
    return required


class _Reader:
    """Decompresses modules and reads their facts, on all cores: both release the interpreter."""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.data: dict[str, bytes] = {}
        self._files = kernel.files

    def read(self, names: Iterable[str]) -> dict[str, ModInfo]:
        """The facts of the named modules; their contents go to `data`."""
        with ThreadPoolExecutor() as pool:
            return dict(pool.map(self._one, names))

    def _one(self, name: str) -> tuple[str, ModInfo]:
        path = self._files[name]
        self.data[name] = modinfo.decompress(self.kernel.modules[path].read(), path)
        return name, modinfo.parse(self.data[name], path)

    @cached_property
    def aliases(self) -> dict[str, set[str]]:
        """Modules by alias, of the libraries that others name that way."""
        libraries = [name for name, path in self.kernel.paths.items() if path.startswith(_ALIASED)]
        names_by_alias: dict[str, set[str]] = {}
        for name, info in self.read(libraries).items():
            for alias in info.aliases:
                names_by_alias.setdefault(alias.replace("-", "_"), set()).add(name)
        return names_by_alias
