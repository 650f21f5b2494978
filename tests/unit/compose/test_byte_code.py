"""Byte code of Python modules, compiled by the Python that runs the tests."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from edgeimg import builtin, tools
from edgeimg.cache.store import Store
from edgeimg.compose import byte_code
from edgeimg.compose.byte_code import Interpreter
from edgeimg.errors import LockError, ToolError
from edgeimg.lock.file import read_lock
from edgeimg.lock.model import Lock
from edgeimg.tools import Toolbox
from edgeimg.tree import Tree, file, symlink

PLACE = "usr/lib/python3/dist-packages"
TAG = sys.implementation.cache_tag
WORDS = b"def is_fruit(word):\n    return word in {'apple', 'pear', 'plum'}\n"
ROOT = Tree().with_nodes(
    {
        f"{PLACE}/shop/fruit.py": file(WORDS, origin="package:shop"),
        f"{PLACE}/alone.py": file(b"VALUE = 1\n", origin="overlay:mine"),
        f"{PLACE}/link.py": symlink("alone.py"),
        "usr/lib/python3.13/there.py": file(b"import alone\n"),
        "usr/share/example.py": file(b"VALUE = 2\n"),
    }
)
FILES = {
    f"{PLACE}/shop/__pycache__/fruit.{TAG}.pyc": "package:shop",
    f"{PLACE}/__pycache__/alone.{TAG}.pyc": "overlay:mine",
    f"usr/lib/python3.13/__pycache__/there.{TAG}.pyc": "edgeimg",
}


@pytest.fixture
def python(tmp_path: Path) -> Interpreter:
    """This Python as a tools tree."""
    program = tmp_path / "tools/usr/bin/python3.13"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nunset PYTHONHOME\nexec {sys.executable} "$@"\n')
    program.chmod(0o755)
    toolbox = Toolbox(tmp_path / "tools", tools.build_host())
    return Interpreter(toolbox=toolbox, name="python3.13", version=sys.version)


def _lock(name: str) -> Lock:
    return read_lock(builtin.find(name).with_suffix(".lock.toml"))


def compiled(root: Tree, python: Interpreter, place: Path) -> Tree:
    return byte_code.compile_modules(root, python, Store(place))


def test_each_module_has_byte_code_of_its_origin(python: Interpreter, tmp_path: Path) -> None:
    tree = compiled(ROOT, python, tmp_path / "cache")
    added = {path: node for path, node in tree.items() if path not in ROOT}
    assert {path: node.origin for path, node in added.items() if node.size} == FILES
    assert {node.mode for node in added.values()} == {0o644, 0o755}
    assert all(tree[path] == node for path, node in ROOT.items())


def test_it_is_read_whatever_the_module_is_now(python: Interpreter, tmp_path: Path) -> None:
    compiled(ROOT, python, tmp_path / "cache").extract(tmp_path / "root")
    module = tmp_path / "root" / PLACE / "alone.py"
    module.write_text("VALUE = 'of the source'\n")
    os.utime(module, (1, 1))
    code = "import alone, shop.fruit as it; print(alone.VALUE, it.is_fruit('plum'))"
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=module.parent, check=True, capture_output=True,
        text=True,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "True"]


def test_its_bytes_do_not_depend_on_the_host(
    python: Interpreter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compiled(ROOT, python, tmp_path / "one")
    more = {f"{PLACE}/a{number}.py": file(WORDS) for number in range(9)}
    program = python.toolbox.program("python3.13")
    text = program.read_text()
    for seed, options in (("1", ""), ("2", "-O")):
        program.write_text(text.replace("exec", f"export PYTHONHASHSEED={seed}\nexec"))
        program.write_text(program.read_text().replace('"$@"', f'{options} "$@"'))
        again = compiled(ROOT.with_nodes(more), python, tmp_path / seed)
        assert {path: again.read(path) for path in FILES} == {
            path: first.read(path) for path in FILES
        }


def test_what_is_no_python_is_named(python: Interpreter, tmp_path: Path) -> None:
    root = ROOT.with_nodes({f"{PLACE}/broken.py": file(b"def\n")})
    with pytest.raises(ToolError, match=r"broken\.py"):
        compiled(root, python, tmp_path / "cache")


def test_a_lock_with_one_python(tmp_path: Path) -> None:
    lock = byte_code.with_interpreter(
        read_lock(builtin.find("installer").with_suffix(".lock.toml"))
    )
    group = lock.tools[byte_code.GROUP]
    assert set(group) == {"x86-64", "arm64"}
    for packages in group.values():
        names = {package.name for package in packages}
        assert {"python3.13-minimal", "libpython3.13-stdlib", "libc6"} <= names
        assert len(names) < 8
    found = byte_code.interpreter(lock, Toolbox(tmp_path, tools.build_host()))
    assert found.name == "python3.13"


def test_a_lock_with_two_pythons_or_none() -> None:
    lock = _lock("installer")

    def changed(arch: str, version: str) -> Lock:
        image = lock.images[arch]
        root = tuple(
            replace(package, version=version) if package.name == "python3.13-minimal" else package
            for package in image.groups["root"]
        )
        changed = replace(image, groups={**image.groups, "root": root})
        return replace(lock, images={**lock.images, arch: changed})

    with pytest.raises(LockError, match=r"python3\.13-minimal 3\.13\.5-0"):
        byte_code.with_interpreter(changed("arm64", "3.13.5-0"))
    with pytest.raises(LockError, match="none"):
        byte_code.with_interpreter(_lock("gateway"))
