"""Unpacking an image into a sparse raw disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from edgeimg.cache.store import Store
from edgeimg.errors import ImageError
from edgeimg.vm.disk import raw_image

from tests.unit.streams.test_disk_images import table

MIB = 1 << 20


def test_a_raw_image_is_used_as_it_is(tmp_path: Path) -> None:
    image = tmp_path / "a.raw"
    assert raw_image(image, Store(tmp_path / "cache")) == image


def test_a_compressed_image_is_unpacked_once_with_holes(tmp_path: Path) -> None:
    start = table(35 * MIB)
    content = start + bytes(30 * MIB - len(start)) + b"tail" + bytes(5 * MIB - 4)
    image = tmp_path / "a.raw.zst"
    image.write_bytes(zstandard.compress(content))
    raw = raw_image(image, Store(tmp_path / "cache"))
    assert raw.read_bytes() == content
    assert raw.stat().st_blocks * 512 < 4 * MIB
    assert raw_image(image, Store(tmp_path / "cache")) == raw


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9] + b"damaged!!", lambda data: data[:-9], lambda data: data[:4]]
)
def test_a_damaged_image_is_one_clear_error_and_leaves_nothing(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    image = tmp_path / "a.raw.zst"
    image.write_bytes(damage(zstandard.compress(table(MIB).ljust(MIB, b"x"))))
    store = Store(tmp_path / "cache")
    with pytest.raises(ImageError, match="damaged"):
        raw_image(image, store)
    assert not list((store.root / "derived").glob("*"))
