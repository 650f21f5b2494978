"""What a recipe's [update] puts into an image, and the gateway's command for it.

The gateway's programs run here with a systemd-sysupdate that answers what a test wants; with the
real one, in tests/boot/test_updates.py.
"""

from __future__ import annotations

import configparser
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg.build import plan
from edgeimg.compose import updates
from edgeimg.errors import RecipeError
from edgeimg.recipe.file import load
from edgeimg.recipe.tables import Update
from edgeimg.tree import Tree, file
from edgeimg.trust import keys
from pydantic import ValidationError

from tests.integration.signing import gpg, gpg_home, make_key

ROOT = Path(__file__).parents[2] / "overlays/updates"
COMMAND = ROOT / "usr/bin/edgeimg-update"
GPG = ROOT / "usr/bin/gpg"
URL = "https://updates.example.org/a%20b"
needs_gpg = pytest.mark.skipif(
    any(shutil.which(name) is None for name in ("gpg", "gpg-agent", "gpgv")),
    reason="no gpg: apt install gpg gpg-agent gpgv",
)


def transfers(tree: Tree) -> dict[str, configparser.ConfigParser]:
    read = {}
    for path, node in tree.under(updates.TRANSFERS):
        read[path] = configparser.ConfigParser(interpolation=None)
        read[path].read_string(node.read().decode())
    return read


def test_without_a_url_there_is_nothing() -> None:
    assert list(updates.compose(Update(), b"").items()) == []


def test_every_transfer_is_of_the_url_and_only_what_is_signed() -> None:
    tree = updates.compose(Update(url=URL, key="k"), b"ring")
    told = transfers(tree)
    assert [list(one) for one in told.values()] == [["DEFAULT", "Transfer", "Source", "Target"]] * 3
    assert {one["Source"]["Path"] for one in told.values()} == {URL.replace("%", "%%")}
    assert {one["Transfer"]["Verify"] for one in told.values()} == {"yes"}
    assert {one["Transfer"]["ProtectVersion"] for one in told.values()} == {"%A"}
    assert tree[updates.KEYRING].read() == b"ring"


def test_the_boot_entry_comes_last() -> None:
    """sysupdate goes by the names of the files: without an entry, half a version does not start."""
    told = transfers(updates.compose(Update(url=URL, key="k"), b"ring"))
    assert told[max(told)]["Target"]["Path"] == "/EFI/Linux"


def test_a_schedule_starts_the_timer() -> None:
    without = updates.compose(Update(url=URL, key="k"), b"ring")
    scheduled = updates.compose(Update(url=URL, key="k", schedule="Sun 03:00"), b"ring")
    added = {path: node.read() for path, node in scheduled.items() if path not in without}
    assert set(added.values()) >= {
        b"[Timer]\nOnCalendar=Sun 03:00\n",
        b"enable edgeimg-update.timer\n",
    }


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": URL}, "url needs a key"),
        ({"key": "k"}, "need a url"),
        ({"schedule": "daily"}, "need a url"),
        ({"url": "ftp://a", "key": "k"}, "pattern"),
        ({"url": "https://a b", "key": "k"}, "pattern"),
        ({"url": URL, "key": "k", "schedule": "daily\nOnBootSec=1"}, "pattern"),
        ({"url": URL, "key": "/etc/key"}, "pattern"),
    ],
)
def test_what_is_half_said_or_odd_is_refused(given: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Update.model_validate(given)


def test_an_image_without_the_programs_says_what_to_include() -> None:
    update = Update(url=URL, key="k")
    with pytest.raises(RecipeError) as raised:
        updates.require_programs(Tree(), update)
    assert "updates.toml" in str(raised.value.hint)
    updates.require_programs(Tree(), Update())
    programs = {path: file(b"") for path in updates._PROGRAMS}
    updates.require_programs(Tree().with_nodes(programs), update)


@pytest.mark.parametrize(
    ("key", "said"),
    [(None, "cannot read"), (b"no key", "is no OpenPGP public key"), (b"", "is no OpenPGP")],
)
def test_a_key_that_is_none_is_refused(tmp_path: Path, key: bytes | None, said: str) -> None:
    recipe = tmp_path / "recipes/own.toml"
    recipe.parent.mkdir()
    recipe.write_text(f'[update]\nurl = "{URL}"\nkey = "keys.asc"\n')
    if key is not None:
        (tmp_path / "keys.asc").write_bytes(key)
    source = load(recipe)
    with pytest.raises(RecipeError, match=r"update\.key: .*keys\.asc") as raised:
        plan._update_key(source, source.recipe)
    assert said in str(raised.value)


Gateway = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    """Runs the command on a gateway of version 1.0.0 with these answers of its programs."""

    def run(
        *arguments: str, available: str | None = None, newest: str = "1.0.0", bless: str = "good",
        fails: str = "", log: str = "Failed: it is so", bad: str = "", url: str = URL,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        answers = tmp_path / "answers"
        answers.mkdir(exist_ok=True)
        for verb, answer in {
            "list": {"current": newest, "all": [newest], "appstreamUrls": []},
            "check-new": {"available": available},
        }.items():
            (answers / verb).write_text(json.dumps(answer, separators=(",", ":")))
        (tmp_path / "fail").write_text(f"{log}\n")
        programs = {
            "sysupdate": f'#!/bin/sh\necho "$@" >> {tmp_path}/log\nenv > {tmp_path}/environment\n'
            f"for verb; do case $verb in check-new | list | update) break ;; esac; done\n"
            f'[ "$verb" != "{fails}" ] || {{ cat {tmp_path}/fail >&2; exit 1; }}\n'
            f"[ ! -e {answers}/$verb ] || cat {answers}/$verb\n",
            "bless": f"#!/bin/sh\necho {bless}\n",
            "systemctl": f'#!/bin/sh\necho systemctl "$@" >> {tmp_path}/log\n',
            "flock": "#!/bin/sh\nexit 0\n",
        }
        for name, text in programs.items():
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)
        (tmp_path / "os-release").write_text('IMAGE_ID=gw\nIMAGE_VERSION="1.0.0"\n')
        (tmp_path / "transfers").mkdir(exist_ok=True)
        if url:
            text = f"[Source]\nPath={url.replace('%', '%%')}\n[Target]\nPath=auto\n"
            (tmp_path / "transfers/10-root.transfer").write_text(text)
        entries = tmp_path / "boot/EFI/Linux"
        entries.mkdir(parents=True, exist_ok=True)
        if bad:
            (entries / f"gw_{bad}+0-3.efi").touch()
        env = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "EDGEIMG_SYSUPDATE": str(tmp_path / "sysupdate"),
            "EDGEIMG_BLESS": str(tmp_path / "bless"),
            "EDGEIMG_BOOT": str(tmp_path / "boot"),
            "EDGEIMG_RUN": str(tmp_path / "run"),
            "EDGEIMG_OS_RELEASE": str(tmp_path / "os-release"),
            "EDGEIMG_TRANSFERS": str(tmp_path / "transfers"),
        }
        (tmp_path / "log").write_text("")
        return subprocess.run(
            ["sh", COMMAND, *arguments], env=env, capture_output=True, text=True, check=False
        )

    return run


def done(tmp_path: Path) -> list[str]:
    """What was started that changes something."""
    lines = (tmp_path / "log").read_text().splitlines()
    return [line for line in lines if " update " in line or line.startswith("systemctl")]


def test_it_says_what_runs_and_what_is_new(gateway: Gateway, tmp_path: Path) -> None:
    assert gateway().stdout == f"runs:  1.0.0\nnew:   none at {URL}\n"
    assert gateway(available="1.1.0").stdout == "runs:  1.0.0\nnew:   1.1.0\n"
    waits = gateway(newest="1.1.0")
    assert "waits: 1.1.0" in waits.stdout
    bad = gateway(newest="1.1.0", bad="1.1.0")
    assert "bad:   1.1.0" in bad.stdout
    assert done(tmp_path) == []


def test_it_installs_what_is_new(gateway: Gateway, tmp_path: Path) -> None:
    told = gateway("install", available="1.1.0")
    assert told.returncode == 0
    assert "1.1.0 is installed, and starts with the next restart" in told.stdout
    assert done(tmp_path) == ["--verify=yes update 1.1.0"]


def test_it_restarts_when_asked_and_there_is_something_to_start(
    gateway: Gateway, tmp_path: Path
) -> None:
    gateway("install", "--restart", available="1.1.0")
    assert done(tmp_path) == ["--verify=yes update 1.1.0", "systemctl reboot"]
    gateway("install", "--restart", newest="1.1.0")
    assert done(tmp_path) == ["systemctl reboot"]
    assert gateway("install", "--restart", "--quiet").stdout == ""
    assert done(tmp_path) == []
    gateway("install", "--restart", newest="1.1.0", bad="1.1.0")
    assert done(tmp_path) == []


def test_a_version_that_is_on_trial_keeps_the_one_before(gateway: Gateway, tmp_path: Path) -> None:
    told = gateway("install", available="1.1.0", bless="indeterminate")
    assert told.returncode == 1
    assert "1.0.0 has not shown yet that it works" in told.stderr
    assert done(tmp_path) == []


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("check-new", f"{URL}: Failed: it is so"),
        ("list", "the slots cannot be read: Failed: it is so"),
        ("update", "1.1.0 was not installed; 1.0.0 stays"),
    ],
)
def test_what_fails_is_said(gateway: Gateway, tmp_path: Path, fails: str, said: str) -> None:
    told = gateway("install", "--restart", available="1.1.0", fails=fails)
    assert told.returncode == 1
    assert said in told.stderr
    assert "systemctl reboot" not in done(tmp_path)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("gpgv: Can't check signature: No public key\nDOWNLOAD INVALID", "does not know"),
        ('gpgv: BAD signature from "a"\nDOWNLOAD INVALID', "is not what was signed"),
        ("HTTP request to x failed with code 404.\nFailed to retrieve", "x failed with code 404."),
        ("Transfer failed: Could not connect to server\nExiting.", "Could not connect"),
        ("something new", "(sd-pull) failed with exit status 1."),
    ],
)
def test_the_log_is_told_by_what_says_it_best(gateway: Gateway, log: str, said: str) -> None:
    told = gateway(fails="check-new", log=f"{log}\n(sd-pull) failed with exit status 1.")
    assert said in told.stderr
    assert told.stderr.startswith(f"edgeimg-update: {URL}: ")
    assert len(told.stderr.splitlines()) == 1


def test_it_goes_through_the_proxy_that_was_provisioned(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/proxy.env").write_text(
        "HTTPS_PROXY=http://user:a=b@proxy.lan:3128\nNO_PROXY=localhost,.svc\n"
    )
    assert gateway().returncode == 0
    environment = (tmp_path / "environment").read_text().splitlines()
    assert "https_proxy=http://user:a=b@proxy.lan:3128" in environment
    assert "no_proxy=localhost,.svc" in environment


def test_an_image_that_was_told_nothing_says_so(gateway: Gateway) -> None:
    told = gateway(url="")
    assert told.returncode == 1
    assert "[update]" in told.stderr


@pytest.mark.parametrize("arguments", [["remove"], ["--restart"], ["install", "--yes"]])
def test_wrong_usage(gateway: Gateway, arguments: list[str]) -> None:
    assert gateway(*arguments).returncode == 2


def as_systemd_does(home: Path, ring: Path, signature: Path, signed: bytes) -> int:
    """systemd-pull's call of gpg (257)."""
    argv = [
        GPG, "--no-options", "--no-default-keyring", "--no-auto-key-locate",
        "--no-auto-check-trustdb", "--batch", "--trust-model=always", f"--homedir={home}",
        f"--keyring={ring}", "--verify", signature, "-",
    ]  # fmt: skip
    return subprocess.run(argv, input=signed, capture_output=True, check=False).returncode


@needs_gpg
def test_the_signature_has_to_be_of_the_key_and_of_these_bytes(tmp_path: Path) -> None:
    with gpg_home() as home:
        key, other = make_key(home), make_key(home, "Somebody")
        ring, signature = tmp_path / "ring.gpg", tmp_path / "sums.gpg"
        signature.write_bytes(
            gpg(home, "--local-user", key.fingerprint, "--detach-sign", input=b"sums")
        )
        empty = tmp_path / "home"
        empty.mkdir(mode=0o700)
        ring.write_bytes(keys.export(key, armored=False))
        assert as_systemd_does(empty, ring, signature, b"sums") == 0
        assert as_systemd_does(empty, ring, signature, b"sums!") != 0
        ring.write_bytes(keys.export(other, armored=False))
        assert as_systemd_does(empty, ring, signature, b"sums") != 0
        ring.write_bytes(b"")
        assert as_systemd_does(empty, ring, signature, b"sums") != 0


@pytest.mark.parametrize(
    "arguments",
    [[], ["--sign"], ["--verify", "a", "-"], ["--keyring=k", "--verify", "a"], ["--keyring=k"]],
)
def test_gpg_does_nothing_else(arguments: list[str]) -> None:
    told = subprocess.run([GPG, *arguments], capture_output=True, text=True, check=False)
    assert told.returncode == 2
    assert "only verifies" in told.stderr
