"""What a gateway says of Secure Boot, from a directory in place of the firmware's variables."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

FACTS = Path(__file__).parents[3] / "overlays/base/usr/lib/edgeimg/facts.sh"
NAME = "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


@pytest.mark.parametrize(
    ("variable", "state"),
    [
        (b"\x06\0\0\0\x01", "on"),
        (b"\x06\0\0\0\0", "off"),
        (b"\x06\0\0\0\x02", "unknown"),
        (b"\x06\0\0\0", "unknown"),
        (b"\x06\0\0\0\0\x01", "unknown"),
        (None, "unknown"),
    ],
)
def test_state_of_secure_boot(variable: bytes | None, state: str, tmp_path: Path) -> None:
    if variable is not None:
        (tmp_path / NAME).write_bytes(variable)
    said = subprocess.run(
        ["sh", "-c", '. "$0"; efivars=$1; secure_boot', FACTS, tmp_path],
        capture_output=True, text=True, timeout=30, check=True,
    )  # fmt: skip
    assert said.stdout == f"{state}\n"
