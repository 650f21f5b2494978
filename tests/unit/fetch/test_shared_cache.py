"""The shared build cache against a real HTTP server: whatever the server does is a miss."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from edgeimg.arch import X86_64
from edgeimg.build import shared
from edgeimg.build.options import BuildOptions
from edgeimg.build.plan import BuildPlan, plan_build
from edgeimg.cache.store import Store
from edgeimg.errors import HostError
from edgeimg.fetch import shared_address, shared_cache
from edgeimg.fetch.shared_address import Address
from edgeimg.fetch.shared_cache import MOST_FAILURES, SharedCache
from edgeimg.project.doctor import examine_host
from edgeimg.recipe.file import load
from edgeimg.ui import Ui

from tests.cache_server import CacheServer, answer

PROJECT = Path(__file__).parents[3]
KEY = "ab" * 32
DATA = bytes(range(256)) * 1024
SHA = hashlib.sha256(DATA).hexdigest()


def endless(handler: BaseHTTPRequestHandler) -> None:
    """A body without length and without end."""
    handler.send_response(200)
    handler.end_headers()
    try:
        while True:
            handler.wfile.write(b"x" * 65536)
    except OSError:
        pass


def silent(handler: BaseHTTPRequestHandler) -> None:
    """No answer for two seconds."""
    time.sleep(2)
    del handler


class Notes:
    """A `Progress` that keeps its lines."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.details: list[str] = []

    def task(self, *_: object) -> Any:
        raise AssertionError

    def note(self, message: str) -> None:
        self.notes.append(message)

    def debug(self, message: str) -> None:
        self.details.append(message)


@pytest.fixture
def server() -> Iterator[CacheServer]:
    with CacheServer() as running:
        yield running


@pytest.fixture
def cache(server: CacheServer) -> Iterator[SharedCache]:
    made = SharedCache(Address(url=server.url, writes=True), Notes())
    yield made
    made.close()


def test_what_is_stored_is_found(cache: SharedCache, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(DATA)
    assert cache.put_blob(tmp_path / "data") == SHA
    assert cache.put_entry(KEY, b"{}")
    assert cache.entry(KEY) == b"{}"
    assert cache.blob(SHA, len(DATA), tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == DATA
    assert (cache.hits, cache.misses, cache.failures) == (1, 0, 0)
    assert cache.sent == cache.received == len(DATA) + 2


HOSTILE = {
    "403": answer(403),
    "500": answer(500, DATA),
    "redirect": answer(302, Location="/cache/cas/other"),
    "damaged": answer(200, b"y" + DATA[1:]),
    "longer": answer(200, DATA + b"x"),
    "shorter": answer(200, DATA[1:]),
    "truncated": answer(200, DATA[:1000], Content_Length=str(len(DATA))),
    "900 MB": answer(200, DATA, Content_Length=str(900 << 20)),
    "endless": endless,
    "length": answer(200, DATA, Content_Length="-1"),
    "bomb": answer(200, DATA, Content_Encoding="gzip"),
    "partial": answer(206, DATA),
    "silent": silent,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_blob_is_a_miss(
    what: str,
    server: CacheServer,
    cache: SharedCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared_cache, "TIMEOUT", (1.0, 0.5))
    server.answers[f"/cache/cas/{SHA}"] = HOSTILE[what]
    assert not cache.blob(SHA, len(DATA), tmp_path / "data")
    assert list(tmp_path.iterdir()) == []
    assert (cache.hits, cache.misses, cache.failures) == (0, 1, 1)
    assert cache.received <= 2 * len(DATA)


def test_absence_is_no_failure(cache: SharedCache, tmp_path: Path) -> None:
    for _ in range(2 * MOST_FAILURES):
        assert cache.entry(KEY) is None
        assert not cache.blob(SHA, len(DATA), tmp_path / "data")
    assert cache.failures == 0
    assert not cache.is_given_up


def test_a_large_entry_is_a_miss(server: CacheServer, cache: SharedCache) -> None:
    server.files[f"/cache/ac/{KEY}"] = bytes(shared_cache.ENTRY_BYTES + 1)
    assert cache.entry(KEY) is None
    assert cache.failures == 1


def test_a_failing_server_is_given_up_with_one_note(
    server: CacheServer, cache: SharedCache, tmp_path: Path
) -> None:
    server.answers[f"/cache/ac/{KEY}"] = answer(500)
    for _ in range(MOST_FAILURES + 2):
        assert cache.entry(KEY) is None
    assert not cache.put_entry(KEY, b"{}")
    assert not cache.blob(SHA, 1, tmp_path / "data")
    assert len(server.requests) == MOST_FAILURES
    assert isinstance(cache.progress, Notes)
    assert len(cache.progress.notes) == 1


def test_a_server_that_is_away_is_a_miss(server: CacheServer) -> None:
    with CacheServer() as other:
        url = other.url
    away = SharedCache(Address(url=url, writes=False))
    assert away.entry(KEY) is None
    assert away.failures == 1


def test_a_slow_server_is_a_miss(
    server: CacheServer, cache: SharedCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(100):
                handler.wfile.write(b"x")
                time.sleep(0.05)
        except OSError:
            pass

    monkeypatch.setattr(shared_cache, "PATIENCE", 0.5)
    server.answers[f"/cache/ac/{KEY}"] = drip
    began = time.monotonic()
    assert cache.entry(KEY) is None
    assert cache.failures == 1
    assert time.monotonic() - began < 4


def test_a_refused_write_is_no_error(
    server: CacheServer, cache: SharedCache, tmp_path: Path
) -> None:
    server.refuses = 403
    (tmp_path / "data").write_bytes(DATA)
    assert cache.put_blob(tmp_path / "data") is None
    assert server.files == {}
    assert (cache.failures, cache.misses, cache.sent) == (1, 0, 0)


def test_credentials_come_from_netrc_and_are_not_printed(
    server: CacheServer, cache: SharedCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "netrc"
    file.write_text("machine 127.0.0.1 login builder password hidden\n")
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))
    server.answers[f"/cache/ac/{KEY}"] = answer(500)
    for _ in range(MOST_FAILURES):
        cache.entry(KEY)
    login = base64.b64encode(b"builder:hidden").decode()
    assert server.requests == [("GET", f"/cache/ac/{KEY}", f"Basic {login}")] * MOST_FAILURES
    assert isinstance(cache.progress, Notes)
    text = "\n".join([*cache.progress.notes, *cache.progress.details])
    assert KEY in text
    assert "hidden" not in text
    assert login not in text


@pytest.mark.parametrize(
    "url",
    ["ftp://host/x", "host/x", "http://", "http://user:pw@host/", "http://h/?q", "http://h:x/"],
)
def test_a_bad_address_is_refused_without_the_password(url: str) -> None:
    with pytest.raises(HostError) as caught:
        shared_address.address({"EDGEIMG_REMOTE_CACHE": url})
    assert "pw" not in f"{caught.value.message}{caught.value.hint}"


def test_addresses() -> None:
    assert shared_address.address({}) is None
    url = "https://cache.example/edge/"
    found = shared_address.address({"EDGEIMG_REMOTE_CACHE": url})
    assert found == Address(url="https://cache.example/edge", writes=False)
    both = {"EDGEIMG_REMOTE_CACHE": url, "EDGEIMG_REMOTE_CACHE_WRITE": "1"}
    assert shared_address.address(both) == replace(found, writes=True)
    with pytest.raises(HostError):
        shared_address.address({**both, "EDGEIMG_REMOTE_CACHE_WRITE": "yes"})


def test_doctor_asks_it(
    server: CacheServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def state() -> str:
        (fact,) = (fact for fact in examine_host(Store(tmp_path)) if fact.topic == "shared")
        return fact.state

    monkeypatch.setenv("EDGEIMG_REMOTE_CACHE", server.url)
    assert state() == "ok"
    server.answers[f"/cache/ac/{'0' * 64}"] = answer(403)
    assert state() == "note"
    monkeypatch.setenv("EDGEIMG_REMOTE_CACHE", "nonsense")
    assert state() == "bad"


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> BuildPlan:
    source = load(PROJECT / "recipes/gateway.toml")
    return plan_build(source, X86_64, BuildOptions(output=tmp_path_factory.mktemp("out")))


def entry(plan: BuildPlan) -> dict[str, Any]:
    row = {"sha256": SHA, "size": len(DATA)}
    names = [f"{plan.name}{suffix}" for suffix in shared.LIMITS]
    return {"format": shared.FORMAT, "key": plan.key, "files": {name: dict(row) for name in names}}


def broken(plan: BuildPlan) -> dict[str, bytes]:
    """Entries of a wrong shape, by what is wrong."""
    good, raw = entry(plan), f"{plan.name}.raw.zst"
    files = good["files"]

    def row(**facts: object) -> bytes:
        return json.dumps({**good, "files": {**files, raw: {**files[raw], **facts}}}).encode()

    return {
        "no JSON": b"\x00",
        "no object": b"[]",
        "nested": b"[" * 5000,
        "format": json.dumps({**good, "format": "x"}).encode(),
        "key": json.dumps({**good, "key": KEY}).encode(),
        "more": json.dumps({**good, "more": 1}).encode(),
        "fewer files": json.dumps({**good, "files": {raw: files[raw]}}).encode(),
        "path": json.dumps({**good, "files": {**files, "../../x": files[raw]}}).encode(),
        "list": json.dumps({**good, "files": list(files)}).encode(),
        "digest": row(sha256="../../../etc/passwd"),
        "no digest": row(sha256=7),
        "size": row(size=1 << 40),
        "empty": row(size=0),
        "negative": row(size=-1),
        "boolean": row(size=True),
        "text": row(size="1"),
    }


def test_entries_of_another_shape_are_misses(
    server: CacheServer, plan: BuildPlan, tmp_path: Path
) -> None:
    ui = Ui(verbosity=-1)
    for what, data in broken(plan).items():
        cache = SharedCache(Address(url=server.url, writes=False))
        server.files[f"/cache/ac/{plan.key}"] = data
        server.requests.clear()
        assert shared.find(plan, cache, ui) is None, what
        assert len(server.requests) == 1, what
        assert (cache.misses, cache.failures) == (1, 1), what
        cache.close()
    # An entry of the right shape is followed to its blobs, the first of which is absent.
    server.files[f"/cache/ac/{plan.key}"] = json.dumps(entry(plan)).encode()
    server.requests.clear()
    cache = SharedCache(Address(url=server.url, writes=False))
    assert shared.find(plan, cache, ui) is None
    assert [path for _, path, _ in server.requests] == [
        f"/cache/ac/{plan.key}",
        f"/cache/cas/{SHA}",
    ]
    # With blobs that have their digests, the manifest is no manifest.
    server.files[f"/cache/cas/{SHA}"] = DATA
    assert shared.find(plan, cache, ui) is None
    assert cache.failures == 1
    assert list(plan.directory.iterdir()) == []
    cache.close()
