"""The stand-in is compiled once per state of its sources, with a bar, and failures are clear.

The real build takes minutes; a small script takes the place of builder/standin/build.py here, and
one that prints a version the place of Go.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from edgeimg.arch import ARM, ARM64
from edgeimg.cache.store import Store
from edgeimg.errors import HostError, ToolError
from edgeimg.progress import Advance, Silent
from edgeimg.sources import standin

BUILD = """\
import sys, pathlib
arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))
for line in ("downloading", "progress 0 40", "progress 10 40", "a.go:1: warning", "progress 40 40"):
    print(line, file=sys.stderr)
pathlib.Path(arguments["--output"]).write_text(arguments["--arch"])
with pathlib.Path("runs").open("a") as runs:
    runs.write("x")
"""


class Recorder(Silent):
    def __init__(self) -> None:
        self.bars: list[tuple[str, int | None, list[int]]] = []
        self.notes: list[str] = []

    @contextmanager
    def task(self, label: str, total: int | None, unit: str = "bytes") -> Iterator[Advance]:
        steps: list[int] = []
        self.bars.append((label, total, steps))
        yield steps.append

    def note(self, message: str) -> None:
        self.notes.append(message)


@pytest.fixture
def sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    sources = tmp_path / "standin"
    sources.mkdir()
    (sources / "build.py").write_text(BUILD)
    (sources / "main.go").write_text("package main")
    go(tmp_path, "echo go1.26.8")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    return sources


def go(folder: Path, script: str) -> Path:
    program = folder / "go"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return program


def test_built_once_per_architecture_and_state(sources: Path, tmp_path: Path) -> None:
    store, progress = Store(tmp_path / "cache"), Recorder()
    runs = sources / ".runs"
    (sources / "build.py").write_text(BUILD.replace('"runs"', '".runs"'))

    def build(arch: object = ARM) -> str:
        path = standin.build(arch, store=store, progress=progress, sources=sources)  # type: ignore[arg-type]
        return path.read_text()

    assert [build(), build(), build(ARM64)] == ["arm", "arm", "arm64"]
    assert runs.read_text() == "xx"
    assert progress.bars[0] == ("stand-in arm", 40, [0, 10, 30])
    assert "not K3s" in progress.notes[0]
    (sources / "main_test.go").write_text("package main")
    build()
    assert runs.read_text() == "xx", "tests are not compiled in"
    (sources / "main.go").write_text("package main // changed")
    build()
    assert runs.read_text() == "xxx"
    go(tmp_path, "echo go1.26.9")
    build()
    assert runs.read_text() == "xxxx"


def test_images_are_built_once_for_each_busybox(sources: Path, tmp_path: Path) -> None:
    (sources / "build.py").write_text(
        "import sys, pathlib\n"
        "arguments = dict(zip(sys.argv[1::2], sys.argv[2::2]))\n"
        "program = pathlib.Path(arguments['--airgap']).read_bytes()\n"
        "pathlib.Path(arguments['--output']).write_bytes(program)\n"
    )
    store = Store(tmp_path / "cache")

    def build(busybox: bytes) -> Path:
        return standin.build_airgap(ARM, busybox, store=store, progress=Silent(), sources=sources)

    first, again, other = build(b"1.37"), build(b"1.37"), build(b"1.38")
    assert first == again
    assert (first.read_bytes(), other.read_bytes()) == (b"1.37", b"1.38")
    assert standin.cached(ARM, store, sources=sources) is None, "the program is another file"


def test_a_failed_build_shows_its_log(sources: Path, tmp_path: Path) -> None:
    (sources / "build.py").write_text("import sys; sys.exit('main.go:3: undefined: x')")
    with pytest.raises(ToolError, match=r"status 1\n  main\.go:3: undefined: x") as caught:
        standin.build(ARM, store=Store(tmp_path / "c"), progress=Silent(), sources=sources)
    assert "--k3s PATH" in (caught.value.hint or "")
    assert not list((tmp_path / "c").glob("derived/*"))


def test_a_build_that_hangs_is_ended(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standin, "DEADLINE", 0.5)
    (sources / "build.py").write_text("import time; time.sleep(60)")
    with pytest.raises(ToolError, match="not done within"):
        standin.build(ARM, store=Store(tmp_path / "c"), progress=Silent(), sources=sources)


def test_a_go_that_cannot_get_its_compiler(sources: Path, tmp_path: Path) -> None:
    go(tmp_path, "echo 'go: download go1.26: no route to host' >&2; exit 1")
    with pytest.raises(ToolError, match="no route to host") as caught:
        standin.build(ARM, store=Store(tmp_path / "c"), progress=Silent(), sources=sources)
    assert "GOPROXY" in (caught.value.hint or "")


def test_go_of_the_tools_where_the_host_has_none(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "go").rename(tmp_path / "elsewhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    store = Store(tmp_path / "c")
    with pytest.raises(HostError, match="no Go on this host"):
        standin.build(ARM, store=store, progress=Silent(), sources=sources)
    asked: list[int] = []

    def toolbox_go() -> Path:
        asked.append(1)
        return tmp_path / "elsewhere"

    standin.build(ARM, store=store, progress=Silent(), sources=sources, toolbox_go=toolbox_go)
    assert asked == [1]


def test_without_a_checkout(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="only in a checkout"):
        standin.build(ARM, store=Store(tmp_path), progress=Silent(), sources=tmp_path / "nowhere")


def test_the_real_sources_are_where_they_are_looked_for() -> None:
    assert (standin.SOURCES / "build.py").is_file()
    assert (standin.SOURCES / "go.mod").is_file()
