"""Files for a gateway, put into a finished image and read back by another tool."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from builder.arch import X86_64
from builder.errors import ImageError
from builder.pack import disk, fat
from builder.provision import partition
from builder.provision.rendering import files
from builder.provision.settings import Settings

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def image(tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.make(X86_64, {}, tmp_path_factory.mktemp("image")).raw


def test_files_are_on_the_config_partition_and_nothing_else_has_changed(image: Path, tiny) -> None:
    box = Settings.model_validate({
        "hostname": "box-1",
        "k3s": {"token_file": SecretStr("t")},
        "network": {"lan": {"interface": "en*"}},
    })  # fmt: skip
    part = disk.read(image, toolbox=tiny.pack)["config"]
    before = image.read_bytes()
    partition.write(image, files(box), toolbox=tiny.pack)
    after = image.read_bytes()
    assert after[: part.start] == before[: part.start]
    assert after[part.start + part.size :] == before[part.start + part.size :]

    alone = image.with_name("config.fat")
    alone.write_bytes(after[part.start : part.start + part.size])
    tiny.pack.run("fsck.fat", "-n", str(alone), timeout=60)
    assert sorted(fat.names(alone, "edgeimg", toolbox=tiny.pack)) == [
        "hostname", "k3s.yaml", "network",
    ]  # fmt: skip
    for path, content in files(box).items():
        assert partition.read(image, path, toolbox=tiny.pack) == content


def test_a_second_time_replaces_what_it_names(image: Path, tiny) -> None:
    for name in ("box-1", "box-2"):
        partition.write(image, files(Settings(hostname=name)), toolbox=tiny.pack)
    assert partition.read(image, "edgeimg/hostname", toolbox=tiny.pack) == b"box-2\n"


def test_what_is_no_image_of_edgeimg_is_told(tmp_path: Path, tiny) -> None:
    other = tmp_path / "other.raw"
    with other.open("wb") as file:
        file.truncate(8 << 20)
    table = b"label: gpt\nsize=1MiB, name=data\n"
    tiny.pack.run("sfdisk", "--quiet", str(other), input=table, timeout=60)
    with pytest.raises(ImageError, match="no config partition"):
        partition.write(other, {"edgeimg/hostname": b"x\n"}, toolbox=tiny.pack)
