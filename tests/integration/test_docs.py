"""The tutorial and the start of the README, run line by line as they are printed.

Two things differ: builds get a K3s that is made here, because the release cannot be downloaded
everywhere, and `smoke` only prints its help: tests/boot runs the same command with a real one.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from edgeimg.arch import X86_64

from tests.docs_commands import PROJECT, lines
from tests.fake_k3s import FakeK3s, build_info, elf

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("downloads")]

SECONDS = 900.0
PREPARE = """
set -eux
edgeimg() {
    case $1 in
        build | check) command edgeimg "$@" --k3s "$K3S" ;;
        smoke) command edgeimg smoke --help ;;
        *) command edgeimg "$@" ;;
    esac
}
"""


def run(script: str, directory: Path) -> subprocess.CompletedProcess[str]:
    k3s = directory / "k3s"
    k3s.write_bytes(sound_k3s())
    env = {
        **os.environ,
        "K3S": str(k3s),
        "PATH": f"{PROJECT / '.venv/bin'}:{os.environ['PATH']}",
        "HOME": str(directory),
        "EDGEIMG_CACHE": os.environ.get("EDGEIMG_CACHE", str(Path.home() / ".cache/edgeimg")),
    }
    return subprocess.run(
        ["bash", "-c", PREPARE + script],
        cwd=directory, env=env, capture_output=True, text=True, timeout=SECONDS,
    )  # fmt: skip


def sound_k3s() -> bytes:
    """A K3s that passes every check."""
    fake = FakeK3s(X86_64)
    info = build_info("path\tgithub.com/k3s-io/k3s/cmd/server\nmod\tgithub.com/k3s-io/k3s\t\n")
    fake.programs = {
        "k3s": elf(X86_64, info, stack=True),
        "cni": elf(X86_64, b"cni", stack=True),
    }
    return fake.binary()


def commands(page: Path) -> list[str]:
    return [line.text for line in lines(page) if not line.skipped]


def test_the_start_of_the_readme_ends_with_a_flashed_file(tmp_path: Path) -> None:
    script = commands(PROJECT / "README.md")
    assert len(script) == 5
    done = run("\n".join(script), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "my-gateway/gateway.img").stat().st_size > 500 << 20


def test_the_tutorial_ends_with_a_provisioned_disk(tmp_path: Path) -> None:
    page = PROJECT / "docs/tutorial/first-gateway.md"
    found = commands(page)
    assert found[:2] == ["edgeimg doctor", "edgeimg init my-gateway"]
    ((name, settings),) = re.findall(r'```toml title="(\S+)"\n(.*?)```', page.read_text(), re.S)
    (tmp_path / name).write_text(settings)
    change = f'mv ../{name} . && sed -i \'s/^version = "0.1.0"/version = "1.0.0"/\' recipes/*.toml'
    entered = found.index("cd my-gateway") + 1
    done = run("\n".join([*found[:entered], change, *found[entered:]]), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    project = tmp_path / "my-gateway"
    assert (project / "out/gateway_1.0.0_x86-64/gateway_1.0.0_x86-64.raw.zst").is_file()
    assert b"box-1" in (project / "gateway.img").read_bytes()
    again = run(f"cd my-gateway && command edgeimg provision --show {name}", tmp_path)
    assert "box-1" in again.stdout
