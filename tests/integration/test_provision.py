"""Files for a gateway, put into a finished image and read back by another tool."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder import provision
from builder.arch import X86_64
from builder.errors import ImageError
from builder.pack import disk, fat
from builder.provision import Provision

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def image(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(X86_64, {}, tmp_path_factory.mktemp("image")).raw


def test_files_are_on_the_config_partition_and_nothing_else_has_changed(image: Path, tiny) -> None:
    box = Provision(
        hostname="box-1", k3s={"token": "t"}, network={"10-lan.network": "[Match]\nName=en*\n"}
    )
    part = disk.read(image, toolbox=tiny.pack)["config"]
    before = image.read_bytes()
    provision.write(image, provision.files(box), toolbox=tiny.pack)
    after = image.read_bytes()
    assert after[: part.start] == before[: part.start]
    assert after[part.start + part.size :] == before[part.start + part.size :]

    alone = image.with_name("config.fat")
    alone.write_bytes(after[part.start : part.start + part.size])
    tiny.pack.run("fsck.fat", "-n", str(alone), timeout=60)
    assert sorted(fat.names(alone, "edgeimg", toolbox=tiny.pack)) == [
        "hostname", "k3s.yaml", "network",
    ]  # fmt: skip
    for path, content in provision.files(box).items():
        assert provision.read(image, path, toolbox=tiny.pack) == content


def test_a_second_time_replaces_what_it_names(image: Path, tiny) -> None:
    for name in ("box-1", "box-2"):
        provision.write(image, provision.files(Provision(hostname=name)), toolbox=tiny.pack)
    assert provision.read(image, "edgeimg/hostname", toolbox=tiny.pack) == b"box-2\n"


def test_what_is_no_image_of_edgeimg_is_told(tmp_path: Path, tiny) -> None:
    other = tmp_path / "other.raw"
    with other.open("wb") as file:
        file.truncate(8 << 20)
    table = b"label: gpt\nsize=1MiB, name=data\n"
    tiny.pack.run("sfdisk", "--quiet", str(other), input=table, timeout=60)
    with pytest.raises(ImageError, match="no config partition"):
        provision.write(other, {"edgeimg/hostname": b"x\n"}, toolbox=tiny.pack)
