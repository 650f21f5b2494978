"""A Debian binary package as a Tree (deb(5), deb-control(5)). Nothing of it runs.

The data archive is decompressed once into the cache, and the tree's files are spans of it.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from edgeimg.cache.store import Store, disk_errors, key, sha256_file
from edgeimg.errors import ArchiveError, DigestError, LockError
from edgeimg.lock.file import REPAIR
from edgeimg.lock.model import Package
from edgeimg.sources import tree_index
from edgeimg.sources.archive import ArMember, ar_members, decompress, tar_nodes
from edgeimg.tree import Kind, Node, Tree, directory

_VERSION = "2"
_MAX_CONTROL = 16 << 20
_TEXT = r"[^\x00-\x08\x0a-\x1f\x7f]"
_FIELD = re.compile(rf"(?P<name>[!$-,./-9;-~][!-9;-~]*):(?P<value>{_TEXT}*)")
_CONTINUATION = re.compile(rf"[ \t](?=.*\S){_TEXT}*")

_CONTROL_FILES = ("control", "conffiles", "md5sums", "templates")
_TEMPLATE = re.compile(r"Template: *(\S*) *", re.IGNORECASE)
_QUESTION = re.compile(r"Description: *(.+)", re.IGNORECASE)
_LICENCE = re.compile(r"licen[cs]e|eula", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Deb:
    """One package: its control fields and its files."""

    control: dict[str, str]
    """Fields of the control file; continuation lines are kept, with their newlines."""
    control_text: str
    """The unchanged control file."""
    conffiles: tuple[str, ...]
    """Paths (relative) of its configuration files."""
    md5sums: str
    """The package's own digests of its files, in the format of md5sum(1)."""
    licence_question: str = ""
    """What it asks for the consent to a licence (debconf-devel(7)); empty for most packages."""
    sha256: str
    """Digest of the whole .deb."""
    tree: Tree = field(repr=False)

    @property
    def name(self) -> str:
        """The package's name."""
        return self.control["Package"]

    @property
    def version(self) -> str:
        """The package's version."""
        return self.control["Version"]


def read(path: Path, sha256: str, *, store: Store, origin: str) -> Deb:
    """The package in the file at `path`, whose digest is `sha256`.

    `origin` names it in the tree's nodes (`package:NAME`) and in errors. Raises DigestError when
    the file is another one, ArchiveError when it is damaged or hostile.
    """

    def make(result: Path) -> None:
        if sha256_file(path) != sha256:
            raise DigestError(
                f"{origin}: {path.name} does not have the locked sha256 {sha256}",
                hint="get it once more",
            )
        result.mkdir()
        _unpack(path, result, origin)

    unpacked = store.derived(key("deb", _VERSION, sha256), make)
    return _load(unpacked, sha256, origin)


def read_blob(package: Package, *, blobs: Store, store: Store) -> Deb:
    """A locked package out of `blobs`, unpacked into `store`; see `read`.

    Raises DamageError for a blob whose bytes have changed, and removes it; LockError when the
    blob is another package than the lock's row names.
    """
    origin, path = f"package:{package.name}", blobs.blob(package.sha256)
    try:
        deb = read(path, package.sha256, store=store, origin=origin)
    except DigestError:
        raise blobs.discard_blob(package.sha256, origin) from None
    if path.stat().st_size != package.size:
        blobs.checked_blob(package.sha256, origin, package.size)
    _require_same(package, deb)
    return deb


def _require_same(package: Package, deb: Deb) -> None:
    locked = (package.name, package.version, package.arch)
    actual = tuple(deb.control.get(name, "") for name in ("Package", "Version", "Architecture"))
    if locked != actual:
        raise LockError(
            f"the lock names the package {' '.join(locked)}, but the file in its row, "
            f"{package.path}, is {' '.join(actual)}",
            hint=REPAIR,
        )


def parse_control(text: str, label: str) -> dict[str, str]:
    """The fields of one deb822 paragraph (deb-control(5)), without control characters.

    Lines end with LF or CR LF, as dpkg accepts. Raises ArchiveError for a malformed one, a field
    that is a duplicate, a second paragraph.
    """
    lines: dict[str, list[str]] = {}
    names: set[str] = set()
    current: list[str] | None = None
    for line in text.replace("\r\n", "\n").strip("\n").split("\n"):
        if match := _FIELD.fullmatch(line):
            name = match["name"]
            if name.lower() in names:
                raise ArchiveError(f"{label}: its control file has two fields {name}")
            names.add(name.lower())
            current = lines[name] = [match["value"].strip()]
        elif current and _CONTINUATION.fullmatch(line):
            current.append(line)
        else:
            raise ArchiveError(f"{label}: malformed control file: {line!r}")
    fields = {name: "\n".join(parts) for name, parts in lines.items()}
    if "Package" not in fields or "Version" not in fields:
        raise ArchiveError(f"{label}: its control file names no package and version")
    return fields


def _unpack(path: Path, result: Path, label: str) -> None:
    with path.open("rb") as source:
        control, data = _members(ar_members(source, label), label)
        if control.size > _MAX_CONTROL:
            raise ArchiveError(f"{label}: {control.name} is larger than {_MAX_CONTROL} bytes")
        for member, name in ((control, "control"), (data, "data")):
            with disk_errors(result), (result / name).open("wb") as output:
                decompress(source, member, output, label)
    found = {
        name: node
        for name, node in tar_nodes(result / "control", f"{label}: {control.name}").items()
        if node.kind is Kind.FILE and name in _CONTROL_FILES
    }
    if sum(node.size for node in found.values()) > _MAX_CONTROL:
        raise ArchiveError(
            f"{label}: the files of {control.name} are larger than {_MAX_CONTROL >> 20} MiB"
        )
    files = {name: node.read().decode("utf-8", "replace") for name, node in found.items()}
    (result / "control").unlink()
    parse_control(files.get("control", ""), label)
    nodes = tar_nodes(result / "data", f"{label}: {data.name}")
    index = {"control": files, "nodes": tree_index.rows(nodes)}
    with disk_errors(result):
        (result / "index.json").write_text(json.dumps(index))


def _members(members: list[ArMember], label: str) -> tuple[ArMember, ArMember]:
    # A name that begins with "_" may be skipped (deb(5)). Other unknown names are errors.
    names = [member.name for member in members if not member.name.startswith("_")]
    expected = ["debian-binary", "control.tar", "data.tar"]
    if [name.partition(".tar")[0] for name in names] != ["debian-binary", "control", "data"]:
        raise ArchiveError(f"{label}: not a Debian package: holds {names}, expected {expected}")
    by_name = {member.name: member for member in members}
    return by_name[names[1]], by_name[names[2]]


def _load(unpacked: Path, sha256: str, origin: str) -> Deb:
    index = json.loads((unpacked / "index.json").read_text())
    nodes = tree_index.nodes(index["nodes"], unpacked / "data", origin=origin)
    for name in list(nodes):
        _add_parents(nodes, name, origin)
    files = index["control"]
    return Deb(
        control=parse_control(files["control"], origin),
        control_text=files["control"],
        conffiles=_conffiles(files.get("conffiles", "")),
        md5sums=files.get("md5sums", ""),
        licence_question=_licence_question(files.get("templates", "")),
        sha256=sha256,
        tree=Tree(nodes),
    )


def _add_parents(nodes: dict[str, Node], name: str, origin: str) -> None:
    parent = name.rpartition("/")[0]
    while parent and parent not in nodes:
        nodes[parent] = directory(origin=origin)
        parent = parent.rpartition("/")[0]


def _conffiles(text: str) -> tuple[str, ...]:
    # A line may begin with a flag such as "remove-on-upgrade" (deb-conffiles(5)).
    lines = (line.split() for line in text.splitlines())
    return tuple(words[0].lstrip("/") for words in lines if len(words) == 1)


def _licence_question(templates: str) -> str:
    of_licence = False
    for line in templates.split("\n"):
        if match := _TEMPLATE.fullmatch(line):
            of_licence = bool(_LICENCE.search(match[1]))
        elif not line:
            of_licence = False
        elif of_licence and (match := _QUESTION.fullmatch(line)):
            return match[1].strip()
    return ""
