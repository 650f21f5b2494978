"""`edgeimg install` from a signed release on a web server, onto loop devices."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import pytest
from edgeimg import tools
from edgeimg.errors import FetchError, HostError, ImageError, VerifyError
from edgeimg.image import blockmap
from edgeimg.install import machine
from edgeimg.release import sums
from edgeimg.release.layout import SIGNATURE, SUMS
from edgeimg.trust import keys, signatures
from edgeimg.trust.keys import Key

from tests.cache_server import CacheServer
from tests.integration import bad_disks
from tests.integration.fileserver import FileServer
from tests.integration.signing import gpg_home, make_key
from tests.integration.test_flash import EDGEIMG, MIB, Made, made, run  # noqa: F401
from tests.integration.test_install import blank, fake_systemctl, is_blank, rules

pytestmark = [pytest.mark.integration, bad_disks.needs_loop]
ARCH = tools.build_host().name
OTHER = {"x86-64": "arm64", "arm64": "x86-64"}[ARCH]
PLACE = "/gateway/1.0.0"


@dataclass(frozen=True)
class Site:
    """A web server with a release, and the rules that name it."""

    folder: Path
    server: FileServer
    key: Key
    other: Key
    files: dict[str, bytes] = field(default_factory=dict)

    def publish(self, image: Path, arch: str, key: Key | None = None) -> None:
        """A release with an image for `arch`, and one for another board."""
        name = f"gateway_1.0.0_{arch}"
        self.files.update(
            {
                f"{name}.raw.zst": image.read_bytes(),
                f"{name}.bmap": blockmap.beside(image).read_bytes(),
                f"gateway_1.0.0_{arch}_board.raw.zst": b"not for this machine",
            }
        )
        digests = {path: sha256(data).hexdigest() for path, data in self.files.items()}
        listing = self.folder / SUMS
        listing.write_bytes(sums.encode_sums(digests))
        signature = signatures.sign(listing, key or self.key)
        self.files.update({SUMS: listing.read_bytes(), SIGNATURE: signature.read_bytes()})
        self.server.files = {f"{PLACE}/{path}": data for path, data in self.files.items()}

    def rules(self, disk: Path) -> Path:
        path = self.folder / "install.toml"
        path.write_text(
            f'release = "{self.server.url}{PLACE}/"\nkey = "releases.asc"\ncountdown = 0\n'
            f'[disk]\nremovable = true\npath = "{disk}"\n'
        )
        return path

    def asked(self) -> set[str]:
        return {path.removeprefix(f"{PLACE}/") for path, _ in self.server.log}


@pytest.fixture(scope="module")
def signers() -> Iterator[tuple[Key, Key]]:
    with gpg_home() as home:
        yield make_key(home), make_key(home, "Somebody")


@pytest.fixture
def site(tmp_path: Path, signers: tuple[Key, Key]) -> Iterator[Site]:
    with FileServer() as server:
        (tmp_path / "releases.asc").write_bytes(keys.export(signers[0]))
        yield Site(tmp_path, server, *signers)


def test_the_image_of_this_architecture_is_installed(
    made: Made,  # noqa: F811
    site: Site,
    tmp_path: Path,
) -> None:
    site.publish(made.image, OTHER)
    site.publish(made.image, ARCH)
    with blank(tmp_path, 32 * MIB) as (disk,):
        done = run("install", "--rules", site.rules(disk))
        assert done.returncode == 0, done.stderr
        assert made.on(disk)
    name = f"gateway_1.0.0_{ARCH}"
    assert site.asked() == {SUMS, SIGNATURE, f"{name}.raw.zst", f"{name}.bmap"}
    assert f"installed: {name}.raw.zst" in done.stdout


def test_a_damaged_file_of_the_cache_is_downloaded_again(
    made: Made,  # noqa: F811
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEIMG_CACHE", str(tmp_path / "cache"))
    site.publish(made.image, ARCH)
    blob = tmp_path / "cache/blobs" / sha256(made.image.read_bytes()).hexdigest()
    with blank(tmp_path, 32 * MIB) as (disk,):
        file = site.rules(disk)
        file.write_text(f"{file.read_text()}erase = true\n")
        assert run("install", "--rules", file).returncode == 0
        blob.chmod(0o600)
        blob.write_bytes(bytes(blob.stat().st_size))
        done = run("install", "--rules", file)
        assert done.returncode == 0, done.stderr
        assert "it is fetched again" in done.stderr
        assert made.on(disk)


def damage(site: Site) -> None:
    path = f"{PLACE}/gateway_1.0.0_{ARCH}.raw.zst"
    site.server.files[path] = bytes(len(site.server.files[path]))


def sign_by_another(site: Site) -> None:
    listing = site.folder / SUMS
    signature = signatures.sign(listing, site.other)
    site.server.files[f"{PLACE}/{SIGNATURE}"] = signature.read_bytes()


def change_the_list(site: Site) -> None:
    listing = site.server.files[f"{PLACE}/{SUMS}"]
    site.server.files[f"{PLACE}/{SUMS}"] = listing.replace(b"_1.0.0_", b"_1.0.1_")


def leave_the_architecture_out(site: Site) -> None:
    (site.folder / SUMS).unlink()
    site.files.clear()
    site.publish(site.folder / "image.raw.zst", OTHER)


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (damage, FetchError.exit_code, "gateway_1.0.0_"),
        (sign_by_another, VerifyError.exit_code, "it was made with another key"),
        (change_the_list, VerifyError.exit_code, "signature"),
        (leave_the_architecture_out, ImageError.exit_code, f"has no image for {ARCH}"),
        (lambda site: site.server.files.clear(), FetchError.exit_code, "404"),
    ],
)
def test_another_release_is_not_installed(
    made: Made,  # noqa: F811
    site: Site,
    tmp_path: Path,
    change: Callable[[Site], None],
    code: int,
    says: str,
) -> None:
    (tmp_path / "image.raw.zst").hardlink_to(made.image)
    (tmp_path / "image.bmap").hardlink_to(blockmap.beside(made.image))
    site.publish(made.image, ARCH)
    change(site)
    with blank(tmp_path, 32 * MIB) as (disk,):
        done = run("install", "--rules", site.rules(disk))
        assert done.returncode == code, done.stderr
        assert says in done.stderr
        assert is_blank(disk)


def test_a_server_that_is_not_there_yet_is_waited_for(
    made: Made,  # noqa: F811
    tmp_path: Path,
    signers: tuple[Key, Key],
) -> None:
    (tmp_path / "releases.asc").write_bytes(keys.export(signers[0]))
    with FileServer() as server:
        site = Site(tmp_path, server, *signers)
        site.publish(made.image, ARCH)
        port = server.port
    for path, data in server.files.items():
        (tmp_path / "served" / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "served" / path.lstrip("/")).write_bytes(data)
    web = ["-m", "http.server", str(port), "--bind", "127.0.0.1", "-d", tmp_path / "served"]
    with (
        blank(tmp_path, 32 * MIB) as (disk,),
        subprocess.Popen(
            [EDGEIMG, "install", "--rules", site.rules(disk)], stderr=subprocess.PIPE, text=True
        ) as waiting,
    ):
        assert waiting.stderr is not None
        said = waiting.stderr.readline()
        assert "waiting for 127.0.0.1" in said
        with subprocess.Popen([sys.executable, *map(str, web)]) as late:
            try:
                said = waiting.stderr.read()
            finally:
                late.kill()
        assert waiting.wait() == 0, said
        assert made.on(disk)


def test_the_ledger_is_reported(
    made: Made,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = fake_systemctl(tmp_path, monkeypatch)
    book = tmp_path / "install.ledger.jsonl"
    book.write_text("")
    with CacheServer() as server, blank(tmp_path, 32 * MIB) as (disk,):
        more = f'report = "{server.url}/ledgers/"\nafter = "poweroff"\n'
        file = rules(tmp_path, made.image, f'path = "{disk}"\nerase = true', more)
        for _ in range(2):
            before = book.read_bytes()
            done = run("install", "--rules", file)
            assert done.returncode == 0, done.stderr
            ((place, stored),) = server.files.items()
            assert place == f"/cache/ledgers/{machine.read().name}.ledger.jsonl"
            assert before + stored == book.read_bytes()
            assert [json.loads(line)["result"] for line in stored.splitlines()] == ["started", "ok"]
        assert asked.read_text() == "poweroff\n" * 2
        server.refuses = 403
        done = run("install", "--rules", file)
        assert done.returncode == FetchError.exit_code
        assert "cannot store the ledger" in done.stderr
        assert "HTTP status 403" in done.stderr
        assert made.on(disk)
        assert asked.read_text() == "poweroff\n" * 2
        size = len(server.requests)
        file.write_text(file.read_text().replace("erase = true", ""))
        assert run("install", "--rules", file).returncode == HostError.exit_code
        assert len(server.requests) == size  # nothing was added to the ledger


def test_options_that_do_not_go_together(tmp_path: Path) -> None:
    address = "https://releases.example/1.0.0"
    for arguments, says in (
        (["--release", address], "add --key FILE"),
        ([tmp_path, "--release", address], "expected IMAGE, --release ADDRESS or --rules FILE"),
        (["--release", "releases.example", "--key", "k"], "expected an address such as"),
        (["--release", "https://user@host/1", "--key", "k"], "expected an address such as"),
    ):
        done = run("install", *arguments)
        assert done.returncode == 2
        assert says in done.stderr
