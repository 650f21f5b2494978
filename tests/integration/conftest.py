"""What tests of downloads share: a real server on this machine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.fileserver import FileServer


@pytest.fixture
def server() -> Iterator[FileServer]:
    """A local HTTP server; see FileServer for how to make it misbehave."""
    with FileServer() as running:
        yield running
