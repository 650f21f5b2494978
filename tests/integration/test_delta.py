"""A new version out of blocks of the running one: the program of gateways, with real hash trees,
a real web server, and in place of systemd-sysupdate a client that compares every byte.
"""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg.errors import VerifyError
from edgeimg.release import delta
from edgeimg.tools import Toolbox

from tests import delta_site, tls_proxy
from tests.delta_site import Site, Version

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(
        any(shutil.which(name) is None for name in ("busybox", "curl")),
        reason="no busybox or curl: apt install busybox curl",
    ),
]
BLOCK = 4096
Making = Callable[[bytes, bytes, bytes, bytes], Site]


@pytest.fixture
def make(
    tmp_path: Path, toolbox: Callable[[str], Toolbox], request: pytest.FixtureRequest
) -> Making:
    """Makes a site from the old root, the new root, the old UKI and the new one."""

    def build(*contents: bytes) -> Site:
        paths = [tmp_path / name for name in ("old.root", "new.root", "old.uki", "new.uki")]
        for path, data in zip(paths, contents, strict=True):
            path.write_bytes(data)
        site = delta_site.make(
            tmp_path / "site", Version(root=paths[0], uki=paths[2]),
            Version(root=paths[1], uki=paths[3]), pack=toolbox("pack"),
        )  # fmt: skip
        site.server.__enter__()
        request.addfinalizer(site.server.__exit__)
        return site

    return build


def require_equal(site: Site) -> None:
    """Every byte that is assembled is that of the new version."""
    expected = {part: path.read_bytes() for part, path in site.contents.items()}
    assert site.assembled() == expected


def noise(seed: int, size: int) -> bytes:
    return random.Random(seed).randbytes(size)


def test_only_new_pieces_are_fetched_and_every_byte_is_right(make: Making) -> None:
    """Blocks are changed, inserted, moved and repeated; sizes end within a piece."""
    old = noise(1, 700 * BLOCK)
    new = bytearray(old)
    new[100 * BLOCK : 101 * BLOCK] = noise(2, BLOCK)
    new[300 * BLOCK : 300 * BLOCK] = noise(3, 3 * BLOCK)
    new += bytes(5 * BLOCK) + old[: 7 * BLOCK] + noise(4, BLOCK)
    uki, new_uki = bytearray(noise(5, 1_000_001)), bytearray(noise(5, 1_000_777))
    new_uki[70_000:70_004] = b"1.1."
    site = make(old, bytes(new), bytes(uki), bytes(new_uki))
    result = site.prepare()
    assert result.returncode == 0, result.stderr
    fetched = [asked for path, asked in site.server.log if path.endswith(".pieces")]
    require_equal(site)
    assert len(fetched) <= 10
    assert site.server.sent < 900_000
    assert len(new) > 3 * site.server.sent


def test_a_transfer_that_breaks_off_goes_on(make: Making) -> None:
    old = noise(1, 400 * BLOCK)
    new = bytearray(old)
    for number in range(0, 400, 40):
        new[number * BLOCK : (number + 1) * BLOCK] = noise(100 + number, BLOCK)
    site = make(old, bytes(new), noise(5, 300_000), noise(5, 300_000))
    (path,) = [path for path in site.server.files if path.endswith(".pieces")]
    site.server.faults[path] = ["", "", "truncate", "truncate", 503, ""]
    result = site.prepare()
    assert result.returncode == 0, result.stderr
    require_equal(site)
    before = site.server.sent
    assert site.prepare().returncode == 0
    again = site.server.sent - before
    assert again < 50_000, "pieces that were fetched are fetched again"


def test_through_a_proxy_from_a_server_with_a_private_ca(make: Making, tmp_path: Path) -> None:
    old = noise(1, 400 * BLOCK)
    new = old[: 200 * BLOCK] + noise(2, BLOCK) + old[201 * BLOCK :]
    site = make(old, new, noise(5, 300_000), noise(5, 300_000))
    certificate = tls_proxy.with_tls(site.server, tmp_path)
    url = f"https://{tls_proxy.NAME}"
    with tls_proxy.Proxy(site.server.port) as proxy:
        site.env["https_proxy"] = proxy.url
        refused = site.prepare(url=url)
        assert refused.returncode != 0
        assert site.server.log == []
        site.env["CURL_CA_BUNDLE"] = str(certificate)
        result = site.prepare(url=url)
        assert result.returncode == 0, result.stderr
        assert set(proxy.asked) == {f"{tls_proxy.NAME}:443"}
    assert site.server.sent < 300_000
    require_equal(site)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no-range", "does not serve ranges"),
        ("no-index", "is not published in pieces"),
        ("tree", "hash tree is damaged"),
        ("other-tree", "the index and the hash tree disagree"),
        ("all-new", "most of it is new"),
        ("no-program", "this image has no veritysetup"),
    ],
)
def test_why_a_version_is_transferred_whole(make: Making, fault: str, message: str) -> None:
    old = noise(1, 200 * BLOCK)
    new = noise(2, 200 * BLOCK) if fault == "all-new" else old[:-BLOCK] + noise(3, BLOCK)
    uki = noise(5, 100_000)
    site = make(old, new, uki, noise(6, 100_000) if fault == "all-new" else uki)
    tree = next(path for path in site.server.files if path.endswith(".verity.xz"))
    match fault:
        case "no-range":
            root = next(path for path in site.server.files if path.endswith(".pieces"))
            site.server.faults[root] = ["no-range"] * 3
        case "no-index":
            site.server.files = {
                path: data
                for path, data in site.server.files.items()
                if not path.endswith(".delta")
            }
        case "tree":
            site.server.files[tree] = site.server.files[tree][:-60]
        case "other-tree":
            index = next(path for path in site.server.files if path.endswith(".delta"))
            site.server.files[index] = site.server.files[index].replace(
                f" {200 * BLOCK} ".encode(), f" {199 * BLOCK} ".encode()
            )
        case "no-program":
            (site.directory / "bin/veritysetup").unlink()
            site.env["PATH"] = f"{site.directory}/bin:/usr/bin:/bin"
    result = site.prepare()
    assert result.returncode == 1
    assert message in result.stderr


def test_a_wrong_index_gives_other_bytes_which_the_digests_notice(make: Making) -> None:
    """Control of the comparison: what systemd-sysupdate refuses is not what was signed."""
    old = noise(1, 200 * BLOCK)
    new = old[: 50 * BLOCK] + noise(3, BLOCK) + old[51 * BLOCK :]
    site = make(old, new, noise(5, 100_000), noise(5, 100_000))
    partition = site.directory / "partitions/gw_1.0.0"
    assert site.prepare().returncode == 0
    partition.write_bytes(old[:BLOCK] + noise(9, BLOCK) + old[2 * BLOCK :])
    with pytest.raises(AssertionError, match=r"\.root"):
        site.assembled()


def test_equal_roots_are_published_as_equal_bytes(
    tmp_path: Path, toolbox: Callable[[str], Toolbox]
) -> None:
    root = tmp_path / "a.root"
    root.write_bytes(noise(1, 10 * delta.ROOT_PIECE + 4096))
    parts = [delta.root(root, tmp_path / name, toolbox=toolbox("pack")) for name in ("1", "2")]
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    assert parts[0] == parts[1]
    plain = toolbox("pack").run("xz", "-dc", str(tmp_path / "1"), timeout=60)
    assert plain == root.read_bytes()


@pytest.mark.parametrize("text", ["", "edgeimg-delta 2\n", "edgeimg-delta 1\nroot a b\n"])
def test_an_index_of_another_kind_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "gw_1.1.0_x86-64.delta"
    path.write_text(text)
    with pytest.raises(VerifyError, match=r"gw_1\.1\.0_x86-64\.delta"):
        delta.digests(path)


SYSUPDATE = """\
#!/bin/sh
for verb; do case $verb in check-new | list | update) break ;; esac; done
case $verb in
    list) echo '{"current":"1.0.0","all":["1.1.0","1.0.0"]}' ;;
    check-new) echo '{"available":"1.1.0"}' ;;
    update)
        case $* in *delta/transfers*) kind=pieces ;; *) kind=whole ;; esac
        echo $kind >> $EDGEIMG_RUN/installed
        if [ $kind = pieces ] && [ -e $EDGEIMG_RUN/refuse ]; then
            echo 'Failed: wrong digest' >&2
            exit 1
        fi
        ;;
esac
"""


@pytest.mark.parametrize("refused", [False, True])
def test_what_systemd_sysupdate_refuses_is_transferred_whole(
    make: Making, *, refused: bool
) -> None:
    """And nothing of it stays for the next try."""
    old = noise(1, 200 * BLOCK)
    site = make(old, old[:-BLOCK] + noise(3, BLOCK), noise(5, 100_000), noise(5, 100_000))
    for name, text in {
        "sysupdate": SYSUPDATE,
        "flock": "#!/bin/sh\n",
        "bless": "#!/bin/sh\n",
    }.items():
        (site.directory / name).write_text(text)
        (site.directory / name).chmod(0o755)
    (site.directory / "boot_id").write_text("1\n")
    (site.directory / "update.conf").touch()
    (site.directory / "transfers").mkdir()
    (site.directory / "transfers/10-root.transfer").write_text(
        f"[Source]\nPath={site.server.url}/gw\nMatchPattern=%M_@v_%a_@u.root.xz\n"
    )
    (site.directory / "run").mkdir()
    if refused:
        (site.directory / "run/refuse").touch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    done = subprocess.run(
        [delta_site.ROOT / "usr/bin/edgeimg-update", "install"], capture_output=True, text=True,
        check=False, env={**site.env, "EDGEIMG_DELTA_PORT": port}, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1.1.0 is installed" in done.stdout
    assert "KiB are new" in done.stdout
    assert ("1.1.0 is transferred whole: Failed: wrong digest" in done.stdout) == refused
    tries = (site.directory / "run/installed").read_text().split()
    assert tries == ["pieces", "whole"][: 1 + refused]
    assert not (site.directory / "state/delta").exists()
    assert not (site.directory / "run/delta").exists()
