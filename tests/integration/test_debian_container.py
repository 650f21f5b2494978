"""Where there is no apt and no Docker either, the ways on are named."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeimg.errors import LockError
from edgeimg.sources import debian_container

pytestmark = pytest.mark.integration


def test_without_an_engine_the_ways_on_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with (
        pytest.raises(LockError, match="no apt, and no Debian container") as caught,
        debian_container.runner(tmp_path),
    ):
        pass
    assert debian_container.IMAGE in (caught.value.hint or "")
