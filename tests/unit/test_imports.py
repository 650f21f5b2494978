"""The architecture as a test: imports point one way, and each dependency has one owner."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "builder" / "edgeimg"

# From the top of the story down: a room may import from those below it (and from its own).
ROOMS = [
    {"__main__"},
    {"cli"},
    {"rollout"},
    {"project", "release"},
    {"build"},
    {"install"},
    {"fleet"},
    {"provision"},
    {"flash"},
    {"report"},
    {"smoke"},
    {"vm"},
    {"cve"},
    {"hardware"},
    {"inspect"},
    {"sbom"},
    {"pack"},
    {"image"},
    {"check"},
    {"workloads"},
    {"services"},
    {"compose"},
    {"tools"},
    {"resolve"},
    {"sources"},
    {"fetch"},
    {"lock"},
    {"trust"},
    {"tree"},
    {"cache"},
    {"recipe"},
    {"ui", "process"},
    {"text", "streams"},
    {"builtin"},
    {"progress", "arch", "errors"},
]
RANK = {name: rank for rank, room in enumerate(ROOMS) for name in room}

OWNERS = {
    "click": ["cli"],
    "docker": ["sources"],
    "zstandard": ["streams", "sources"],
    "lzma": ["streams"],
    "bz2": ["streams"],
    "gzip": ["streams"],
    "requests": ["fetch"],
    "elftools": ["check", "sources", "compose"],
    "tomli_w": ["lock"],
    "rich": ["ui", "cli"],
    "cyclonedx": ["sbom"],
    "packageurl": ["sbom"],
    "PIL": ["fleet"],
    "segno": ["fleet"],
    "pydantic": ["rollout", "install", "fleet", "provision", "text", "recipe"],
    "system_calls": ["services"],
    "jinja2": ["report"],
    "yaml": ["workloads", "text"],
    "markupsafe": ["report"],
    "subprocess": ["process"],
}

MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "data" not in p.parts)


def room(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    here = room(path)
    if here == "__init__":
        return
    assert here in RANK, f"{here} has no place in ROOMS yet"
    for name in imports(path):
        parts = name.split(".")
        if parts[0] != "edgeimg" or len(parts) < 2 or parts[1] not in RANK:
            continue
        assert parts[1] == here or RANK[parts[1]] > RANK[here], f"{here} imports {parts[1]}"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_dependency_has_one_owner(path: Path) -> None:
    for name in imports(path):
        owners = OWNERS.get(name.split(".")[0])
        assert owners is None or room(path) in owners, f"{room(path)} imports {name}"


def test_no_module_needs_itself() -> None:
    """Inside a room, too, there is an order to read its modules in."""
    names = {".".join(("edgeimg", *_dotted(path))): path for path in MODULES}
    needs = {name: _modules(path, set(names)) for name, path in names.items()}
    assert list(TopologicalSorter(needs).static_order())  # CycleError names the circle


def _dotted(path: Path) -> tuple[str, ...]:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


def _modules(path: Path, names: set[str]) -> set[str]:
    """The modules it imports from; of `from edgeimg.sbom import debian` that is `sbom.debian`."""
    statements = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.ImportFrom)]
    found = {
        full if (full := f"{statement.module}.{alias.name}") in names else f"{statement.module}"
        for statement in statements
        for alias in statement.names
    }
    return found & names


def test_unit_tests_are_in_the_rooms_that_they_test() -> None:
    tests = Path(__file__).parent
    rooms = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    rooms.add("gateway")  # programs of the gateway, in overlays/
    assert {path.parent.name for path in tests.rglob("test_*.py")} - rooms == {tests.name}
    loose = {path.name for path in tests.glob("test_*.py")}
    assert loose == {
        "test_bench.py", "test_docs.py", "test_fuzz.py", "test_imports.py", "test_process.py",
        "test_strict.py", "test_survivors.py",
    }  # fmt: skip


def test_names_have_no_alias() -> None:
    """Names of two libraries may collide (STYLE.md): one is in the standard library here."""
    found = {
        f"{name.name} as {name.asname}"
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
        if name.asname is not None and name.asname != name.name
    }
    assert found == {"xml.etree.ElementTree as ET"}
