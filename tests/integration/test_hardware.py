"""Hardware coverage with Debian's real kernel, and with the root of a real image."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg.arch import X86_64
from edgeimg.cache.store import Store
from edgeimg.compose import kernel_deb
from edgeimg.errors import ImageError
from edgeimg.hardware import drivers, image
from edgeimg.inspect.image import open_image
from edgeimg.tools import Toolbox
from edgeimg.tree import file, symlink

from tests import hardware_modules, hardware_probes
from tests.conftest import TinyImages
from tests.hardware_modules import FILE, described, extract, of_lock
from tests.hardware_probes import Images


@pytest.mark.usefixtures("downloads")
def test_the_extract_of_the_unit_tests_is_of_the_locks_kernel(cache: Store) -> None:
    found = extract(of_lock("x86-64", cache), described())
    assert found == json.loads(FILE.read_text())["x86-64"]


@pytest.mark.usefixtures("downloads")
def test_the_table_of_the_documentation_is_that_of_the_locks_kernel(cache: Store) -> None:
    page = (hardware_modules.PROJECT / "docs/reference/hardware.md").read_text().splitlines()
    found = list(hardware_probes.table(Images(cache)))
    start = page.index(found[0])
    assert page[start : start + len(found) + 1] == [*found, ""]


@pytest.mark.usefixtures("downloads")
def test_the_root_of_an_image_is_that_of_its_tree(
    tiny: TinyImages, toolbox: Callable[[str], Toolbox], tmp_path: Path
) -> None:
    """Modules, aliases and firmware, read back out of EROFS."""
    (deb,) = [d for n, d in tiny.trees(X86_64, "kernel").items() if n.startswith("linux-image")]
    kernel = kernel_deb.from_deb(deb)
    tree = kernel_deb.select(kernel, ["igb", "r8169"], store=tiny.cache).with_nodes(
        {
            "usr/lib/firmware/rtl_nic/rtl8105e-1.fw.xz": file(b"x"),
            "usr/lib/firmware/a/b/c.bin": symlink("../../rtl_nic/rtl8105e-1.fw.xz"),
        }
    )
    packed = tiny.make(X86_64, dict(tree.items()), tmp_path)
    with open_image(packed.raw, toolbox=toolbox("pack"), work=tmp_path) as opened:
        found = image.read_root(opened.root, kernel.version, toolbox("pack"))
        with pytest.raises(ImageError, match=r"no readable /usr/lib/modules/other/modules\.dep"):
            image.read_root(opened.root, "other", toolbox("pack"))
    expected = drivers.of_tree(tree, kernel.version)
    assert found.modules == expected.modules
    assert found.modules >= {"igb", "r8169", "realtek"}
    assert found.firmware == {"rtl_nic/rtl8105e-1.fw", "a/b/c.bin"}
    device = "pci:v00008086d00001533sv00008086sd00000001bc02sc00i00"
    assert found.claims.modules(device) == expected.claims.modules(device) == ("igb",)
