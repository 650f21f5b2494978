"""What these tests share: a server with hawkBit's layout, steps, and a release on a web server."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.hawkbit import HawkBit, environment
from tests.rollout_desk import STEPS


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HawkBit]:
    made = HawkBit()
    for name, value in environment(made.url).items():
        monkeypatch.setenv(name, value)
    yield made
    made.close()


@pytest.fixture
def steps(tmp_path: Path) -> Path:
    path = tmp_path / "steps.toml"
    path.write_text(STEPS)
    return path


@pytest.fixture
def release(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A release in a directory, and where a web server has it."""
    path = tmp_path / "release"
    path.mkdir()
    (path / "SHA256SUMS").write_text(f"{'0' * 64}  gw_1.1.0_arm64.efi\n")
    facts: dict[str, Any] = {"id": "gw", "version": "1.1.0", "overrides": [], "images": []}
    (path / "release.json").write_text(json.dumps({**facts, "files": []}))

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    shop = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(path)))
    threading.Thread(target=shop.serve_forever, args=(0.05,), daemon=True).start()
    yield path, f"http://127.0.0.1:{shop.server_port}"
    shop.shutdown()
    shop.server_close()
