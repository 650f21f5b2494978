"""The real stand-in, when it has been compiled: taken apart like a release of K3s."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg import process, tools
from edgeimg.arch import ARCHITECTURES, Arch
from edgeimg.cache.store import Store
from edgeimg.errors import ArchitectureError
from edgeimg.sources import k3s, standin
from edgeimg.tools import Toolbox

from tests.standin import compiled

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_the_standin_is_taken_apart(cache: Store, arch: Arch, tmp_path: Path) -> None:
    binary = compiled(arch, cache)
    bundle = k3s.unpack(binary, arch, cache, source="standin")
    assert bundle.standin
    assert bundle.version.endswith("+standin")
    programs = f"usr/lib/k3s/data/{bundle.data_hash}/bin"
    for command in ("k3s", "kubectl", "ctr"):
        assert bundle.tree.resolve(f"usr/bin/{command}") == f"{programs}/k3s"
    assert bundle.tree.resolve("usr/lib/k3s/current/bin/containerd") == f"{programs}/k3s"
    if arch is tools.build_host():
        bundle.tree.extract(tmp_path)
        told = process.run([tmp_path / "usr/bin/k3s", "--version"], timeout=60).decode()
        assert bundle.version in told
    for other in ARCHITECTURES:
        if other is not arch:
            with pytest.raises(ArchitectureError):
                k3s.unpack(binary, other, cache)


def test_debians_go_gets_the_compiler_it_needs(toolbox: Callable[[str], Toolbox]) -> None:
    """Where the host has no Go: Debian's is older than go.mod asks for, and set to stay so."""
    go = toolbox("go").path("usr/bin/go")
    asked = next(
        line.split()[1]
        for line in (standin.SOURCES / "go.mod").read_text().splitlines()
        if line.startswith("go ")
    )
    assert standin._go_version(go, standin.SOURCES).startswith(f"go{asked}")
