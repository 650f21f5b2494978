"""The compiled stand-in of K3s, for tests that need its programs and do not wait for a compiler."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeimg.arch import Arch
from edgeimg.cache.store import Store
from edgeimg.errors import EdgeimgError
from edgeimg.sources import standin

from tests import late


def compiled(arch: Arch, cache: Store) -> Path:
    """The binary for `arch`; skips the test where it has not been compiled."""
    try:
        binary = standin.cached(arch, cache)
    except EdgeimgError as error:
        pytest.skip(error.message)
    if binary is None and late.is_over():
        pytest.skip(late.LEFT_OUT)
    if binary is None:
        pytest.skip(
            f"the stand-in for {arch.name} is not compiled: run `tests/run images images-arm`"
        )
    return binary
