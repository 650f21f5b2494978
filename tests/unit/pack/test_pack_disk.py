"""The partition layout: pure, and told in full when something does not fit."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from edgeimg.arch import ARCHITECTURES, ARM64, X86_64, Arch
from edgeimg.errors import BudgetError
from edgeimg.pack import disk
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.tables import Image

HASH = "00112233445566778899aabbccddeeff" + "f0e1d2c3b4a5968778695a4b3c2d1e0f"
MIB = 1 << 20


def plan(arch: Arch = X86_64, **image: object) -> disk.DiskPlan:
    recipe = Recipe(image=Image.model_validate(image))
    return disk.plan(recipe, arch, HASH, {"root-a": 100 * MIB, "root-a-verity": MIB})


@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_partitions_follow_each_other_aligned(arch: Arch) -> None:
    made = plan(arch)
    end = MIB
    for part in made.partitions:
        assert part.start == end
        assert part.size % MIB == 0
        end = part.start + part.size
    assert made.size == end + MIB
    assert made["root-a"].type == made["root-b"].type == arch.root_type
    assert made["root-a-verity"].type == made["root-b-verity"].type == arch.verity_type


def test_root_and_verity_carry_the_root_hash() -> None:
    made = plan()
    assert made["root-a"].uuid == "00112233-4455-6677-8899-aabbccddeeff"
    assert made["root-a-verity"].uuid == "f0e1d2c3-b4a5-9687-7869-5a4b3c2d1e0f"
    assert made["root-a"].label == "gateway_0.1.0"
    assert made["root-b"].label == disk.EMPTY


def test_identities_depend_on_what_the_image_is_and_nothing_else() -> None:
    assert plan() == plan()
    one, other = plan(), plan(ARM64)
    assert one.uuid != other.uuid
    assert one["esp"].uuid != other["esp"].uuid != plan(ARM64, version="0.2.0")["esp"].uuid
    uuids = [part.uuid for part in one.partitions]
    assert len(set(uuids)) == len(uuids)
    for uuid in (*uuids, one.uuid):
        assert str(UUID(uuid)) == uuid


def test_odd_sizes_are_rounded_up() -> None:
    made = plan(esp=100 * MIB + 1)
    assert made["esp"].size == 101 * MIB
    assert made["root-a"].start == 102 * MIB


def test_every_content_that_does_not_fit_is_named() -> None:
    sizes = {"root-a": 321 * MIB, "root-a-verity": 8 * MIB, "esp": 128 * MIB + 1}
    with pytest.raises(BudgetError) as error:
        disk.plan(Recipe(), X86_64, HASH, sizes)
    assert "root-a: 321.0 MiB of content, 320 MiB of room" in error.value.message
    assert "esp" in error.value.message
    assert "verity" not in error.value.message
    assert "slot" in (error.value.hint or "")


def test_script_for_sfdisk() -> None:
    lines = plan().script().splitlines()
    assert lines[0] == "label: gpt"
    assert "first-lba: 34" in lines
    rows = [line for line in lines if line.startswith("start=")]
    assert len(rows) == 6
    assert rows[1] == (
        f"start={129 * 2048}, size={320 * 2048}, type={X86_64.root_type}, "
        'uuid=00112233-4455-6677-8899-aabbccddeeff, name="gateway_0.1.0", attrs="GUID:60"'
    )
    assert all(re.fullmatch(r"start=\d+, size=\d+, type=[-0-9a-f]{36}, .*", row) for row in rows)
