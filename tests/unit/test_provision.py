"""Provisioning: what the host writes, the gateway takes over; what is bad, it refuses by name.

The gateway's script runs here on a root of its own, in place of the config partition a directory.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from pydantic import SecretStr

from builder.provision.rendering import files
from builder.provision.settings import Settings

BASE = Path(__file__).parents[2] / "overlays/base"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxvb2sgbm8gZnVydGhlciwgdGhlcmUgaXMgbm9uZQ me@desk"
SECRET = "K10aa::node:0123456789abcdef"
CARD = {"mac": "52:54:00:00:00:01", "addresses": ["192.168.77.2/24"]}
BOX = Settings.model_validate({
    "hostname": "box-2",
    "ssh_keys": [KEY],
    "k3s": {"role": "agent", "server": "https://192.168.77.1:6443", "token_file": SecretStr(SECRET),
            "labels": {"site": "hall-7", "line": "2"}, "config": {"debug": True}},
    "network": {"lan": CARD},
})  # fmt: skip


class Root:
    """A gateway's files, and its config partition's."""

    def __init__(self, path: Path) -> None:
        self.path, self.config = path, path / "config/edgeimg"
        shutil.copytree(BASE / "usr/lib/edgeimg", path / "usr/lib/edgeimg")
        for name, text in {
            "etc/hosts": "127.0.0.1 localhost\n127.0.1.1 gateway\n",
            "etc/edgeimg/ssh/authorized_keys": "# of the image\n",
            "etc/rancher/k3s/config.yaml": "SERVER",
            "usr/share/edgeimg/k3s/server.yaml": "SERVER",
            "usr/share/edgeimg/k3s/agent.yaml": "AGENT",
        }.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
        self.config.mkdir(parents=True)
        self.kept = path / "var/lib/edgeimg/provision"

    def put(self, found: dict[str, bytes]) -> None:
        for name, content in found.items():
            target = self.config.parent / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def start(self) -> str:
        """One start of the gateway; what it says is wrong."""
        done = subprocess.run(
            [self.path / "usr/lib/edgeimg/provision", self.path, self.config],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        problem = self.path / "run/edgeimg/provision.problem"
        told = problem.read_text() if problem.exists() else ""
        assert (done.returncode != 0) == bool(told), done.stderr
        return told

    def read(self, name: str) -> str:
        return (self.path / name).read_text()


@pytest.fixture
def root(tmp_path: Path) -> Root:
    return Root(tmp_path)


def test_what_the_host_writes_the_gateway_becomes(root: Root) -> None:
    root.put(files(BOX))
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-2\n"
    assert root.read("etc/hosts").splitlines()[1] == "127.0.1.1 box-2"
    assert root.read("etc/edgeimg/ssh/authorized_keys").splitlines() == ["# of the image", KEY]
    network = "network/10-lan.network"
    assert root.read(f"run/systemd/{network}").encode() == files(BOX)[f"edgeimg/{network}"]
    assert root.read("etc/rancher/k3s/k3s.env") == "K3S_ROLE=agent\n"
    assert root.read("etc/rancher/k3s/config.yaml") == "AGENT"
    told = root.read("etc/rancher/k3s/config.yaml.d/90-provision.yaml")
    assert told.splitlines() == [
        'debug: "true"', "node-label+:", '  - "line=2"', '  - "site=hall-7"',
        'server: "https://192.168.77.1:6443"', f'token: "{SECRET}"',
    ]  # fmt: skip


def test_secrets_are_wiped_from_the_partition_and_nobody_else_reads_them(root: Root) -> None:
    root.put(files(BOX))
    before = (root.config / "k3s.yaml").open("rb")
    root.start()
    assert sorted(path.name for path in root.config.iterdir()) == [
        "authorized_keys", "hostname", "network",
    ]  # fmt: skip
    # The bytes are gone, and not only the name of the file.
    assert set(before.read()) == {0}
    before.close()
    for path in (root.kept, root.kept / "k3s.yaml"):
        assert path.stat().st_mode & 0o077 == 0
    holders = [path for path in root.path.rglob("*") if path.is_file()
               and SECRET.encode() in path.read_bytes()]  # fmt: skip
    assert {str(path.relative_to(root.path)) for path in holders} == {
        "var/lib/edgeimg/provision/k3s.yaml", "etc/rancher/k3s/config.yaml.d/90-provision.yaml",
    }  # fmt: skip


def test_it_stays_what_it_is_without_another_write(root: Root) -> None:
    root.put(files(BOX))
    root.start()
    first = root.kept.stat()
    (root.path / "etc/hostname").unlink()  # /etc forgets
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-2\n"
    assert (root.kept.stat().st_ino, root.kept.stat().st_mtime_ns) == (
        first.st_ino, first.st_mtime_ns,
    )  # fmt: skip


def test_one_file_changes_one_thing_and_an_empty_one_takes_it_back(root: Root) -> None:
    root.put(files(BOX))
    root.start()
    root.put({"edgeimg/hostname": b"box-3\n", "edgeimg/authorized_keys": b""})
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-3\n"
    assert not (root.kept / "authorized_keys").exists()
    assert SECRET in (root.kept / "k3s.yaml").read_text()


def test_files_from_other_systems_are_text_too(root: Root) -> None:
    root.put({"edgeimg/hostname": b"\xef\xbb\xbfbox-9\r\n", "edgeimg/.DS_Store": b"\0\1",
              "edgeimg/README.txt": b"what is this?"})  # fmt: skip
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-9\n"


@pytest.mark.parametrize("left", ["new", "partial"])
def test_a_power_cut_leaves_the_old_set_or_the_new(root: Root, left: str) -> None:
    root.put(files(BOX))
    root.start()
    half = root.kept.with_name(f"provision.{left}")
    half.mkdir()
    (half / "hostname").write_text("box-8\n")
    (root.config / "hostname").unlink()
    assert root.start() == ""
    assert root.read("etc/hostname") == ("box-8\n" if left == "new" else "box-2\n")


BAD = {
    "hostname": [
        (b"Box\n", "lower-case"),
        (b"box.example.org\n", "lower-case"),
        (b"one\ntwo\n", "lower-case"),
        (b"x" * 64, "at most 63"),
        (b"-box\n", "lower-case"),
        (b"box\0\n", "control characters"),
        (b"\xff\xfeb\0o\0x\0", "control characters"),
        (b"\n" * 70000, "70000 bytes"),
    ],
    "authorized_keys": [
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n", "line 1: expected a public key"),
        (KEY.encode() + b"\nAAAAC3NzaC1lZDI1NTE5\n", "line 2: expected a public key"),
        (b"\x1f\x8b\x08\0", "control characters"),
    ],
    "k3s.yaml": [
        (b"rule: agent\n", "line 1: unknown key 'rule'"),
        (b"role: master\n", "expected server or agent"),
        (b"role: agent\ntoken: x\n", "needs 'server' and 'token'"),
        (b"role: agent\nserver: 10.0.0.1\ntoken: x\n", "expected an address such as https://"),
        (b"token: x\ntoken: y\n", "line 2: 'token' is there twice"),
        (b"token: a b\n", "in double quotes"),
        (b"token: *secret\n", "in double quotes"),
        (b'token: "a\n', "in double quotes"),
        (b"token:\n", "'token' has no value"),
        (b"token:x\n", "line 1: expected 'key: value'"),
        (b"  token: x\n", "line 1: expected 'key: value'"),
        (b"node-label:\n- a=b\n- {c: d}\n", "line 3: put the value of 'node-label'"),
        (b"- a\n", "without its key"),
        (b"{role: agent}\n", "line 1"),
        (b"<html>\n", "line 1"),
        (b"role: agent\nserver: https://a\ntoken: x\ntls-san: b\n", "is for servers"),
    ],
    "network/10-lan.network": [
        (b"Address=10.0.0.1/24\n", "expected a section"),
        (b"[Netwrok]\nAddress=10.0.0.1/24\n", "line 1: unknown section [Netwrok]"),
        (b"[Network]\nAddress=10.0.0.1/24\n", "[Match]"),
        (b"[Match]\nName=en*\n[Network]\nAddress=10.0.0\xc2\xb71\n", "expected an address"),
        (b"[Match]\nName=en*\n[Network]\nDHCP yes\n", "line 4: expected 'Key=value'"),
    ],
    "network/lan": [(b"[Match]\n", "expected *.network or *.netdev")],
    "network/20-v.netdev": [(b"[NetDev]\nName=v\n", "expected Name= and Kind=")],
    "hostnames": [(b"box\n", "unknown, expected hostname")],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [(name, content, told) for name, cases in BAD.items() for content, told in cases],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_file_changes_nothing_and_is_named(
    root: Root, name: str, content: bytes, told: str
) -> None:
    root.put(files(BOX))
    root.start()
    root.put({"edgeimg/hostname": b"box-4\n", f"edgeimg/{name}": content})
    problem = root.start()
    assert problem.startswith(f"{name}: ")
    assert told in problem
    assert "restart" in problem.splitlines()[-1]
    assert root.read("etc/hostname") == "box-2\n"
    assert SECRET in (root.kept / "k3s.yaml").read_text()
    # Put right, it is taken.
    (root.config / name).unlink()
    root.put({"edgeimg/hostname": b"box-4\n"})
    assert root.start() == ""
    assert root.read("etc/hostname") == "box-4\n"


def test_a_bad_secret_is_not_repeated(root: Root) -> None:
    root.put({"edgeimg/k3s.yaml": b"token: hush hush\n"})
    assert "hush" not in root.start()
