"""Downloads from a real server that misbehaves: every way ends with right bytes or one error."""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from edgeimg.cache.store import Store
from edgeimg.errors import DigestError, FetchError, HostError
from edgeimg.fetch import Download, fetch, http, transfer
from edgeimg.progress import Advance, Silent

from tests.integration.fileserver import FileServer

pytestmark = pytest.mark.integration
PROJECT = Path(__file__).parents[2]
CONTENT = random.Random(1).randbytes(1_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "BACKOFF", 0.01)
    monkeypatch.setattr(http, "TIMEOUT", (2.0, 0.5))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "cache")


def want(*urls: str, size: int | None = len(CONTENT), name: str = "thing.deb") -> Download:
    return Download(name, SHA256, size, urls)


def assert_published(store: Store) -> None:
    assert store.blob(SHA256).read_bytes() == CONTENT
    assert list((store.root / "partial").glob("*")) == []


def assert_nothing_published(store: Store) -> None:
    assert not store.has_blob(SHA256)
    assert list((store.root / "blobs").glob("*")) == []


def begun(store: Store, data: bytes) -> None:
    store.partial(f"{SHA256}.part").write_bytes(data)


def test_many_files_in_parallel_each_once(server: FileServer, store: Store) -> None:
    contents = [random.Random(n).randbytes(10_000 + n) for n in range(40)]
    server.files = {f"/{n}": data for n, data in enumerate(contents)}
    wanted = [
        Download(str(n), hashlib.sha256(data).hexdigest(), len(data), (f"{server.url}/{n}",))
        for n, data in enumerate(contents)
    ]
    fetch([*wanted, *wanted], store, offline=False)
    assert all(store.blob(w.sha256).read_bytes() == contents[int(w.name)] for w in wanted)
    assert sorted(path for path, _ in server.log) == sorted(server.files)
    fetch(wanted, store, offline=True)  # all here: nothing to ask for


def test_an_interrupted_download_is_continued(server: FileServer, store: Store) -> None:
    server.files["/x"] = CONTENT
    begun(store, CONTENT[:600_000])
    fetch([want(f"{server.url}/x")], store, offline=False)
    assert_published(store)
    assert server.log == [("/x", "bytes=600000-")]
    assert server.sent == 400_000


class Bars(Silent):
    """The steps of all bars."""

    def __init__(self) -> None:
        self.steps: list[int] = []

    @contextlib.contextmanager
    def task(self, label: str, total: int | None, unit: str = "bytes") -> Iterator[Advance]:
        yield self.steps.append


@pytest.mark.parametrize("part", [b"", CONTENT[:600_000], b"\0" * 600_000], ids=["", "part", "bad"])
def test_the_bar_ends_at_the_size_of_the_file(
    server: FileServer, store: Store, part: bytes
) -> None:
    server.files["/x"] = CONTENT
    if part:
        begun(store, part)
    bars = Bars()
    fetch([want(f"{server.url}/x")], store, offline=False, progress=bars)
    assert sum(bars.steps) == len(CONTENT)
    assert len(bars.steps) > 2


@pytest.mark.parametrize(("missing", "more"), [(5, ""), (6, " and 1 more")])
def test_offline_five_missing_files_are_named(store: Store, missing: int, more: str) -> None:
    wanted = [
        Download(f"{n}.deb", hashlib.sha256(bytes([n])).hexdigest(), 1, ()) for n in range(missing)
    ]
    with pytest.raises(FetchError) as caught:
        fetch(wanted, store, offline=True)
    names = "0.deb, 1.deb, 2.deb, 3.deb, 4.deb"
    assert caught.value.message.endswith(f"not in the cache: {names}{more}")


def test_a_whole_part_needs_no_request(server: FileServer, store: Store) -> None:
    begun(store, CONTENT)
    fetch([want(f"{server.url}/x")], store, offline=False)
    assert_published(store)
    assert server.log == []


@pytest.mark.parametrize(
    "part",
    [b"\0" * 600_000, bytes([CONTENT[0] ^ 1]), CONTENT + b"more"],
    ids=["wrong", "one wrong byte", "too long"],
)
def test_a_bad_part_is_fetched_anew(server: FileServer, store: Store, part: bytes) -> None:
    server.files["/x"] = CONTENT
    begun(store, part)
    fetch([want(f"{server.url}/x")], store, offline=False)
    assert_published(store)
    assert server.log[-1] == ("/x", "")


def test_a_server_without_range_is_fine(server: FileServer, store: Store) -> None:
    server.files["/x"] = CONTENT
    server.faults["/x"] = ["no-range"]
    begun(store, CONTENT[:500])
    fetch([want(f"{server.url}/x")], store, offline=False)
    assert_published(store)


def test_a_part_beyond_the_file_of_unknown_size(server: FileServer, store: Store) -> None:
    server.files["/x"] = CONTENT
    begun(store, CONTENT + b"beyond")
    fetch([want(f"{server.url}/x", size=None)], store, offline=False)
    assert_published(store)


@pytest.mark.parametrize("fault", ["truncate", "stall"])
def test_a_broken_body_is_continued(server: FileServer, store: Store, fault: str) -> None:
    server.files["/x"] = CONTENT
    server.faults["/x"] = [fault, fault]
    fetch([want(f"{server.url}/x")], store, offline=False)
    assert_published(store)
    asked = [requested for _, requested in server.log]
    assert asked[0] == ""
    assert all(requested.startswith("bytes=") for requested in asked[1:])
    assert len(asked) == 3


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_tampered_bytes_are_refused(server: FileServer, store: Store, size: int | None) -> None:
    server.files["/x"] = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(DigestError, match=SHA256) as caught:
        fetch([want(f"{server.url}/x", size=size)], store, offline=False)
    assert "its sha256 is" in caught.value.message
    assert_nothing_published(store)
    server.files["/x"] = CONTENT
    fetch([want(f"{server.url}/x", size=size)], store, offline=False)
    assert_published(store)


def test_no_more_than_the_locked_size_is_read(server: FileServer, store: Store) -> None:
    server.files["/x"] = CONTENT + bytes(200_000_000)
    with pytest.raises(DigestError, match="larger than the expected 1000000 bytes"):
        fetch([want(f"{server.url}/x")], store, offline=False)
    assert_nothing_published(store)
    assert server.sent < 20_000_000  # socket buffers


def test_a_redirect_is_followed(server: FileServer, store: Store) -> None:
    server.files["/there"] = CONTENT
    server.faults["/x"] = ["/there"]
    fetch([want(f"{server.url}/x")], store, offline=False)
    assert_published(store)


def test_a_loop_of_redirects_ends(server: FileServer, store: Store) -> None:
    server.faults["/x"] = ["/x"] * 100
    with pytest.raises(FetchError, match="redirects"):
        fetch([want(f"{server.url}/x")], store, offline=False)


@pytest.mark.parametrize("fault", [404, 403, 503])
def test_the_next_mirror_is_tried(server: FileServer, store: Store, fault: int) -> None:
    server.files = {"/a/x": CONTENT, "/b/x": CONTENT}
    server.faults["/a/x"] = [fault] * 10
    fetch([want(f"{server.url}/a/x", f"{server.url}/b/x")], store, offline=False)
    assert_published(store)


def test_a_mirror_with_other_bytes_is_passed_over(server: FileServer, store: Store) -> None:
    server.files = {"/a/x": b"\0" * len(CONTENT), "/b/x": CONTENT}
    fetch([want(f"{server.url}/a/x", f"{server.url}/b/x")], store, offline=False)
    assert_published(store)


def test_gone_everywhere_says_what_to_do(server: FileServer, store: Store) -> None:
    with pytest.raises(FetchError) as caught:
        fetch([want(f"{server.url}/a/x", f"{server.url}/b/x")], store, offline=False)
    assert caught.value.message.count("404 Not Found") == 2
    assert "thing.deb" in caught.value.message
    assert "edgeimg lock --update" in (caught.value.hint or "")


def test_a_busy_server_is_asked_again(server: FileServer, store: Store) -> None:
    server.files["/x"] = CONTENT
    server.faults["/x"] = [503, 429, 500]
    fetch([want(f"{server.url}/x")], store, offline=False)
    assert_published(store)
    assert len(server.log) == 4


def test_a_server_that_stays_busy_is_named(server: FileServer, store: Store) -> None:
    server.faults["/x"] = [503] * 10
    with pytest.raises(FetchError, match="503 Service Unavailable"):
        fetch([want(f"{server.url}/x")], store, offline=False)
    assert len(server.log) == http.TRIES


def test_nobody_listens(store: Store) -> None:
    with pytest.raises(FetchError, match="refused") as caught:
        fetch([want("http://127.0.0.1:9/x")], store, offline=False)
    assert "object at" not in caught.value.message


def test_a_url_that_is_none(store: Store) -> None:
    with pytest.raises(FetchError):
        fetch([want("http://[::x/y")], store, offline=False)


def test_offline_names_what_is_missing(store: Store) -> None:
    others = [Download(f"p{n}.deb", f"{n:064x}", 1, ()) for n in range(9)]
    with pytest.raises(FetchError) as caught:
        fetch(others, store, offline=True)
    expected = "offline, but 9 of 9 inputs are not in the cache"
    assert caught.value.message == f"{expected}: p0.deb, p1.deb, p2.deb, p3.deb, p4.deb and 4 more"


def test_too_little_space_is_known_before(server: FileServer, store: Store) -> None:
    with pytest.raises(HostError, match="no space left"):
        fetch([want(f"{server.url}/x", size=1 << 60)], store, offline=False)
    assert server.log == []


def test_a_full_disk_is_one_line(server: FileServer, tmp_path: Path) -> None:
    server.files["/x"] = CONTENT
    cache = tmp_path / "small"
    cache.mkdir()
    script = f'mount -t tmpfs -o size=300k none {cache} && exec {sys.executable} -c "$CODE"'
    result = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script],
        env={**os.environ, "CODE": client(cache, f"{server.url}/x", size="None")},
        capture_output=True,
        text=True,
        timeout=60,
        cwd=PROJECT,
    )
    if "unshare failed" in result.stderr or "permission denied" in result.stderr:
        pytest.skip("this host gives no user namespaces to mount a small file system in")
    assert "HostError no space left" in result.stdout


def client(cache: Path, *urls: str, size: str = str(len(CONTENT))) -> str:
    """A program that fetches and prints how it went."""
    return f"""
import signal
from pathlib import Path
from edgeimg.errors import EdgeimgError
from edgeimg.fetch import Download, fetch
from edgeimg.cache.store import Store
# Whoever runs the tests in the background may have had it ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
wanted = [Download(u.rpartition("/")[2], {SHA256!r}, {size}, (u,)) for u in {list(urls)!r}]
try:
    fetch(wanted, Store(Path({str(cache)!r})), offline=False)
    print("done")
except EdgeimgError as error:
    print(type(error).__name__, error.message)
except KeyboardInterrupt:
    print("interrupted")
"""


def start(cache: Path, url: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", client(cache, url)]
    return subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, cwd=PROJECT)


def wait_for_part(store: Store, size: int) -> None:
    part = store.root / "partial" / f"{SHA256}.part"
    deadline = time.monotonic() + 30
    while not (part.is_file() and part.stat().st_size > size):
        assert time.monotonic() < deadline, "the download never began"
        time.sleep(0.01)


def test_two_builds_share_one_download(server: FileServer, store: Store) -> None:
    server.files["/x"] = CONTENT
    server.rate = 2_000_000
    both = [start(store.root, f"{server.url}/x") for _ in range(2)]
    assert [process.communicate(timeout=60)[0] for process in both] == ["done\n", "done\n"]
    assert_published(store)
    assert server.log == [("/x", "")]


def test_a_killed_download_is_continued(server: FileServer, store: Store) -> None:
    server.files["/x"] = CONTENT
    server.rate = 500_000
    victim = start(store.root, f"{server.url}/x")
    wait_for_part(store, 100_000)
    victim.kill()
    victim.communicate()
    assert_nothing_published(store)
    server.rate = None
    fetch([want(f"{server.url}/x")], store, offline=False)
    assert_published(store)
    assert server.log[-1][1].startswith("bytes=")


def test_ctrl_c_ends_at_once_and_leaves_a_part(server: FileServer, store: Store) -> None:
    server.files["/x"] = CONTENT
    server.faults["/x"], server.silence = ["stall"], 600.0
    victim = start(store.root, f"{server.url}/x")
    wait_for_part(store, 100_000)
    victim.send_signal(signal.SIGINT)
    assert victim.communicate(timeout=60)[0] == "interrupted\n"
    assert_nothing_published(store)
    fetch([want(f"{server.url}/x")], store, offline=False)
    assert_published(store)
    assert server.log[-1][1].startswith("bytes=")
