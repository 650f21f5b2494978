"""What a recipe's [update] puts into an image, and the gateway's command for it.

The gateway's programs run here with a systemd-sysupdate that answers what a test wants; with the
real one, in tests/boot/test_updates.py.
"""

from __future__ import annotations

import configparser
import json
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from edgeimg.build import project_files
from edgeimg.compose import updates
from edgeimg.errors import RecipeError
from edgeimg.recipe.file import load
from edgeimg.recipe.updates import Update
from edgeimg.release import assemble
from edgeimg.tree import Tree, file
from edgeimg.trust import keys
from pydantic import ValidationError

from tests.integration.signing import gpg, gpg_home, make_key
from tests.updater import ROOT, environment

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
    added = [node.read() for path, node in scheduled.items() if path not in without]
    assert [text for text in added if text] == [b"[Timer]\nOnCalendar=Sun 03:00\n"]
    preset = "usr/lib/systemd/system-preset/05-edgeimg-update.preset"
    assert b"enable edgeimg-update.timer\n" in scheduled[preset].read()
    assert b"enable edgeimg-update.timer\n" not in without[preset].read()


def test_a_window_for_restarts_installs_without_one() -> None:
    update = Update(url=URL, key="k", schedule="hourly", restart="Sun 03:00")
    tree = updates.compose(update, b"ring")
    units = "usr/lib/systemd/system"
    window = tree[f"{units}/edgeimg-update-restart.timer.d/restart.conf"].read()
    assert window == b"[Timer]\nOnCalendar=Sun 03:00\n"
    service = tree[f"{units}/edgeimg-update.service.d/restart.conf"].read()
    assert service.endswith(b"\nExecStart=edgeimg-update install --quiet\n")


def test_the_trial_and_what_is_refused_reach_the_gateway() -> None:
    update = Update(url=URL, key="k", trial=7, rollback_index=3, allow_older=("0.1.0", "0.2.0"))
    tree = updates.compose(update, b"ring")
    assert tree[updates.SETTINGS].read() == b"rollback_index=3\nallow_older=0.1.0 0.2.0\n"
    (timer,) = [node for path, node in tree.items() if path.endswith("expire.timer.d/trial.conf")]
    assert timer.read() == b"[Timer]\nOnBootSec=\nOnBootSec=7min\n"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"url": URL}, "url needs a key"),
        ({"key": "k"}, "key without a url"),
        ({"schedule": "daily"}, "schedule without a url"),
        ({"rollback_index": 1}, "rollback_index without a url"),
        ({"url": URL, "key": "k", "restart": "daily"}, "needs a schedule"),
        ({"url": URL, "key": "k", "trial": 1}, "trial"),
        ({"url": URL, "key": "k", "schedule": "Sunday 3am"}, "'3am' is no date"),
        ({"url": "ftp://a", "key": "k"}, "pattern"),
        ({"url": "https://a b", "key": "k"}, "pattern"),
        ({"url": URL, "key": "k", "schedule": "daily\nOnBootSec=1"}, "no weekday"),
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
        project_files.keyring(source, "update.key", source.recipe.update.key)
    assert said in str(raised.value)


def state(directory: Path) -> dict[str, str]:
    """Fields of the state of the last update."""
    lines = (directory / "state/state").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines)


Gateway = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def gateway(tmp_path: Path) -> Gateway:
    """Runs the command on a gateway of version 1.0.0 with these answers of its programs."""

    def run(
        *arguments: str, available: str | None = None, newest: str = "1.0.0", bless: str = "good",
        fails: str = "", log: str = "Failed: it is so", bad: str = "", url: str = URL,
        versions: Sequence[str] = (), settings: str = "", index: str | None = None,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        answers = tmp_path / "answers"
        answers.mkdir(exist_ok=True)
        for verb, answer in {
            "list": {"current": newest, "all": versions or [newest], "appstreamUrls": []},
            "check-new": {"available": available},
        }.items():
            (answers / verb).write_text(json.dumps(answer, separators=(",", ":")))
        (tmp_path / "fail").write_text(f"{log}\n")
        indices = [] if index is None else [available, *versions]
        listed = json.dumps({"current": None, "all": indices}, separators=(",", ":"))
        (tmp_path / "indices").write_text(listed)
        programs = {
            "sysupdate": f'#!/bin/sh\necho "$@" >> {tmp_path}/log\nenv > {tmp_path}/environment\n'
            f"for verb; do case $verb in check-new | list | update) break ;; esac; done\n"
            f'[ "$verb" != "{fails}" ] || {{ cat {tmp_path}/fail >&2; exit 1; }}\n'
            f"timeout={tmp_path}/timeout\n"
            f'case "$*" in *rollback-index*list) exec cat {tmp_path}/indices ;;\n'
            "*rollback-index*) [ ! -e $timeout ] || { cat $timeout >&2; exit 1; }\n"
            f"cp {tmp_path}/index {tmp_path}/run/rollback-index/gw_$5 || exit ;; esac\n"
            f"[ ! -e {answers}/$verb ] || cat {answers}/$verb\n",
            "bless": f"#!/bin/sh\necho {bless}\n",
            "systemctl": f'#!/bin/sh\necho systemctl "$@" >> {tmp_path}/log\n',
            "flock": "#!/bin/sh\nexit 0\n",
        }
        for name, text in programs.items():
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)
        (tmp_path / "os-release").write_text('IMAGE_ID=gw\nIMAGE_VERSION="1.0.0"\n')
        (tmp_path / "update.conf").write_text(settings)
        (tmp_path / "boot_id").write_text("11111111-1111-1111-1111-111111111111\n")
        (tmp_path / "index").unlink(missing_ok=True)
        if index is not None:
            (tmp_path / "index").write_text(index)
        (tmp_path / "transfers").mkdir(exist_ok=True)
        if url:
            text = f"[Source]\nPath={url.replace('%', '%%')}\n[Target]\nPath=auto\n"
            (tmp_path / "transfers/10-root.transfer").write_text(text)
        entries = tmp_path / "boot/EFI/Linux"
        entries.mkdir(parents=True, exist_ok=True)
        if bad:
            (entries / f"gw_{bad}+0-3.efi").touch()
        (tmp_path / "log").write_text("")
        return subprocess.run(
            ["sh", COMMAND, *arguments],
            env=environment(tmp_path),
            capture_output=True,
            text=True,
            check=False,
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
    result = gateway("install", available="1.1.0")
    assert result.returncode == 0
    assert "1.1.0 is installed, and starts with the next restart" in result.stdout
    assert done(tmp_path) == ["--json=short --verify=yes update 1.1.0"]


def test_it_restarts_when_asked_and_there_is_something_to_start(
    gateway: Gateway, tmp_path: Path
) -> None:
    gateway("install", "--restart", available="1.1.0")
    assert done(tmp_path) == ["--json=short --verify=yes update 1.1.0", "systemctl reboot"]
    gateway("install", "--restart", newest="1.1.0")
    assert done(tmp_path) == ["systemctl reboot"]
    assert gateway("install", "--restart", "--quiet").stdout == ""
    assert done(tmp_path) == []
    gateway("install", "--restart", newest="1.1.0", bad="1.1.0")
    assert done(tmp_path) == []


def test_a_version_that_is_on_trial_keeps_the_one_before(gateway: Gateway, tmp_path: Path) -> None:
    result = gateway("install", available="1.1.0", bless="indeterminate")
    assert result.returncode == 1
    assert "1.0.0 has not shown yet that it works" in result.stderr
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
    result = gateway("install", "--restart", available="1.1.0", fails=fails)
    assert result.returncode == 1
    assert said in result.stderr
    assert "systemctl reboot" not in done(tmp_path)


@pytest.mark.parametrize(
    ("log", "said"),
    [
        ("gpgv: Can't check signature: No public key\nDOWNLOAD INVALID", "does not know"),
        ('gpgv: BAD signature from "a"\nDOWNLOAD INVALID', "is not what was signed"),
        ("HTTP request to x failed with code 404.\nFailed to retrieve", "x failed with code 404."),
        ("Transfer failed: Could not connect to server\nExiting.", "Could not connect"),
        ("Failed to write: No space left on device", "No space left"),
        ("something new", "(sd-pull) failed with exit status 1."),
    ],
)
def test_the_log_is_told_by_what_says_it_best(gateway: Gateway, log: str, said: str) -> None:
    result = gateway(fails="check-new", log=f"{log}\n(sd-pull) failed with exit status 1.")
    assert result.returncode == (10 if log.startswith("gpgv:") else 14 if "space" in log else 1)
    assert said in result.stderr
    assert result.stderr.startswith(f"edgeimg-update: {URL}: ")
    assert len(result.stderr.splitlines()) == 1


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
    result = gateway(url="")
    assert result.returncode == 1
    assert "[update]" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["remove"], ["--restart"], ["install", "--yes"], ["install", "1.1.0", "1.2.0"],
        ["install", "../1.1.0"], ["install", "restart"], ["1.1.0"], ["install", "--from"],
        ["install", "--from", "ftp://a"], ["install", "--from", "https://a b"],
        ["install", "--from", "/mnt"], ["restart", "--from", "https://a"],
    ],
)  # fmt: skip
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
    result = subprocess.run([GPG, *arguments], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "only verifies" in result.stderr


def entries(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "boot/EFI/Linux").iterdir())


def test_an_older_version_is_refused_unless_the_recipe_names_it(
    gateway: Gateway, tmp_path: Path
) -> None:
    older = {"available": None, "versions": ("1.0.0", "0.9.0")}
    result = gateway("install", "0.9.0", **older)
    assert result.returncode == 11
    assert "older than 1.0.0" in result.stderr
    assert done(tmp_path) == []
    assert state(tmp_path)["phase"] == "failed"
    assert "allow_older" in state(tmp_path)["reason"]

    (tmp_path / "boot/EFI/Linux/gw_1.0.0.efi").touch()
    assert (
        gateway("install", "0.9.0", settings="allow_older=0.8.0 0.9.0\n", **older).returncode == 0
    )
    assert done(tmp_path) == ["--json=short --verify=yes update 0.9.0"]
    # The boot loader would start the newest version that was not given up.
    assert entries(tmp_path) == ["gw_1.0.0+0-1.efi"]


def test_a_version_by_its_name(gateway: Gateway, tmp_path: Path) -> None:
    versions = ("1.2.0", "1.1.0", "1.0.0")
    assert gateway("install", "1.1.0", available="1.2.0", versions=versions).returncode == 0
    assert done(tmp_path) == ["--json=short --verify=yes update 1.1.0"]
    assert state(tmp_path) | {"time": ""} == {
        "version": "1.1.0", "from": "1.0.0", "phase": "installed", "reason": "", "time": "",
        "boot": "11111111-1111-1111-1111-111111111111",
    }  # fmt: skip
    # 1.1.0 waits for a restart now; the newest is another one.
    (tmp_path / "boot/EFI/Linux/gw_1.1.0+3-0.efi").touch()
    again = gateway("install", "1.1.0", newest="1.1.0", available="1.2.0", versions=versions)
    assert again.returncode == 0
    assert "1.1.0 is installed, and starts with the next restart" in again.stdout
    assert done(tmp_path) == []
    unknown = gateway("install", "1.3.0", available="1.2.0", versions=versions)
    assert unknown.returncode == 13
    assert "1.3.0 is neither installed nor at" in unknown.stderr
    assert gateway("install", "1.0.0", versions=versions).returncode == 1


def test_a_version_that_waits_is_the_one_that_was_named(gateway: Gateway, tmp_path: Path) -> None:
    """And not the newest one."""
    waits = {"newest": "1.1.0", "available": "1.2.0"}
    told = gateway("install", "1.1.0", "--restart", **waits)
    assert "1.1.0 is installed; " in told.stdout
    assert done(tmp_path) == ["systemctl reboot"]
    gateway("install", "--restart", **waits)
    assert "--json=short --verify=yes update 1.2.0" in done(tmp_path)


def test_a_version_that_is_held_starts_when_it_is_installed_again(
    gateway: Gateway, tmp_path: Path
) -> None:
    assert "no version waits" in gateway("hold").stderr
    versions = {"versions": ("1.1.0", "1.0.0")}
    gateway("install", "1.1.0", available="1.1.0", **versions)
    (tmp_path / "boot/EFI/Linux/gw_1.1.0+3-0.efi").touch()
    held = gateway("hold", newest="1.1.0", **versions)
    assert held.returncode == 0
    assert entries(tmp_path) == ["gw_1.1.0+0-0.efi"]
    assert state(tmp_path)["phase"] == "held"
    assert "held:  1.1.0" in gateway(newest="1.1.0").stdout
    assert gateway("restart", newest="1.1.0").stdout == "no other version waits for a restart\n"
    again = gateway("install", "1.1.0", "--restart", newest="1.1.0", **versions)
    assert again.returncode == 0
    assert entries(tmp_path) == ["gw_1.1.0+3-0.efi"]
    assert done(tmp_path) == ["systemctl reboot"]


def test_an_older_version_that_is_held_leaves_the_running_one(
    gateway: Gateway, tmp_path: Path
) -> None:
    (tmp_path / "boot/EFI/Linux").mkdir(parents=True)
    (tmp_path / "boot/EFI/Linux/gw_1.0.0.efi").touch()
    older = {"versions": ("1.0.0", "0.9.0"), "settings": "allow_older=0.9.0\n"}
    assert gateway("install", "0.9.0", **older).returncode == 0
    (tmp_path / "boot/EFI/Linux/gw_0.9.0+3-0.efi").touch()
    assert entries(tmp_path) == ["gw_0.9.0+3-0.efi", "gw_1.0.0+0-1.efi"]
    assert gateway("hold", **older).returncode == 0
    assert entries(tmp_path) == ["gw_0.9.0+0-0.efi", "gw_1.0.0.efi"]


def test_a_version_that_failed_is_tried_again_when_it_is_named(
    gateway: Gateway, tmp_path: Path
) -> None:
    answers = {"newest": "1.1.0", "bad": "1.1.0", "versions": ("1.1.0", "1.0.0")}
    assert "nothing newer" in gateway("install", **answers).stdout
    assert gateway("install", "1.1.0", **answers).returncode == 0
    assert done(tmp_path) == []
    assert entries(tmp_path) == ["gw_1.1.0+3-0.efi"]


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        ("rollback_index=2\n", "its rollback index is 2, and this gateway accepts 3 or more"),
        ("", "is no number"),
        ("3\n", "is no number"),
        ("rollback_index=3x\n", "is no number"),
        ("rollback_index=12345678901\n", "is no number"),
        (None, "has no rollback index"),
    ],
)
def test_a_smaller_rollback_index_is_refused(
    gateway: Gateway, tmp_path: Path, index: str | None, reason: str
) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/rollback-index").write_text("3\n")
    result = gateway("install", available="1.1.0", index=index)
    assert result.returncode == 12
    assert reason in result.stderr
    assert "--json=short --verify=yes update 1.1.0" not in done(tmp_path)
    (tmp_path / "timeout").write_text("Failed: timed out\n")
    result = gateway("install", available="1.1.0", index="rollback_index=3\n")
    assert (result.returncode, "timed out" in result.stderr) == (1, True)
    (tmp_path / "timeout").unlink()
    assert gateway("install", available="1.1.0", index="rollback_index=3\n").returncode == 0
    assert "--json=short --verify=yes update 1.1.0" in done(tmp_path)


def test_from_another_place(gateway: Gateway, tmp_path: Path) -> None:
    result = gateway("install", "--from", "file:///mnt/a%20&b", available="1.1.0")
    assert result.returncode == 0
    (line,) = done(tmp_path)
    (definitions,) = [word for word in line.split() if word.startswith("--definitions=")]
    copy = Path(definitions.partition("=")[2]) / "10-root.transfer"
    assert "\nPath=file:///mnt/a%%20&b\n[Target]\nPath=auto\n" in copy.read_text()


def test_from_where_the_gateway_was_provisioned_to_look(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir(exist_ok=True)
    (tmp_path / "run/update.env").write_text("URL=https://site.example/gw\n")
    assert gateway("install", available="1.1.0").returncode == 0
    copy = tmp_path / "run/transfers/10-root.transfer"
    assert "\nPath=https://site.example/gw\n[Target]\nPath=auto\n" in copy.read_text()
    assert f"--definitions={copy.parent}" in done(tmp_path)[-1]
    assert "none at https://site.example/gw" in gateway().stdout
    gateway("install", "--from", "file:///mnt/stick", available="1.2.0")
    assert "\nPath=file:///mnt/stick\n" in copy.read_text()


def test_a_restart_only_into_a_version_that_waits(gateway: Gateway, tmp_path: Path) -> None:
    gateway("restart", "--quiet")
    assert done(tmp_path) == []
    gateway("restart", newest="1.1.0", bad="1.1.0")
    assert done(tmp_path) == []
    (tmp_path / "boot/EFI/Linux/gw_1.1.0+0-3.efi").unlink()
    gateway("restart", "--quiet", newest="1.1.0")
    assert done(tmp_path) == ["systemctl reboot"]


Trial = Callable[..., subprocess.CompletedProcess[str]]
BOOTS = ("a" * 32, "b" * 32, "c" * 32)


@pytest.fixture
def trial(tmp_path: Path) -> Trial:
    """Runs the trial's program on a gateway that runs `version`, in boot `boot` of BOOTS."""

    def run(
        verb: str, *, version: str = "1.1.0", bless: str = "indeterminate", boot: int = 1,
        entries: Sequence[str] = ("gw_1.0.0.efi", "gw_1.1.0+2-1.efi"), settings: str = "",
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        programs = {
            "bless": f'[ "$1" = status ] && echo {bless} || echo bless $1 >> {tmp_path}/log',
            "systemctl": f"""case $1 in
                is-active) echo activating ;;
                list-units) echo 'k3s.service loaded failed' ;;
                *) echo systemctl $* >> {tmp_path}/log ;;
                esac""",
            "journalctl": f"""case $1 in
                --list-boots) printf '%s\\n' ' -2 {BOOTS[0]} Sun' ' -1 {BOOTS[1]}' '0 {BOOTS[2]}' ;;
                --boot) echo "the last words of $2" ;;
                esac""",
        }
        for name, text in programs.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
            (tmp_path / name).chmod(0o755)
        (tmp_path / "os-release").write_text(f'IMAGE_ID=gw\nIMAGE_VERSION="{version}"\n')
        (tmp_path / "update.conf").write_text(settings)
        (tmp_path / "boot_id").write_text(f"{BOOTS[boot]}\n")
        (tmp_path / "uptime").write_text("901.20 3.0\n")
        (tmp_path / "log").write_text("")
        shutil.rmtree(tmp_path / "boot", ignore_errors=True)
        (tmp_path / "boot/EFI/Linux").mkdir(parents=True)
        for entry in entries:
            (tmp_path / "boot/EFI/Linux" / entry).touch()
        return subprocess.run(
            ["sh", ROOT / "usr/lib/edgeimg/trial", verb],
            env=environment(tmp_path), capture_output=True, text=True, check=False,
        )  # fmt: skip

    return run


def installed(tmp_path: Path, phase: str = "installed") -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state/state").write_text(
        f"version=1.1.0\nfrom=1.0.0\nphase={phase}\nboot={BOOTS[0]}\ntime=now\nreason=\n"
    )


def log(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def test_a_trial_that_ends_well(trial: Trial, tmp_path: Path) -> None:
    installed(tmp_path)
    assert trial("begin").returncode == 0
    assert state(tmp_path)["phase"] == "trial"
    assert trial("good", bless="good", settings="rollback_index=4\n").returncode == 0
    assert (state(tmp_path)["phase"], state(tmp_path)["reason"]) == ("good", "")
    assert (tmp_path / "state/rollback-index").read_text() == "4\n"
    trial("good", bless="good", settings="rollback_index=2\n")
    assert (tmp_path / "state/rollback-index").read_text() == "4\n"
    assert trial("expire", bless="good").returncode == 0
    assert log(tmp_path) == []


def test_a_version_on_trial_does_not_raise_the_index(trial: Trial, tmp_path: Path) -> None:
    installed(tmp_path)
    trial("begin", settings="rollback_index=4\n")
    assert not (tmp_path / "state/rollback-index").exists()


def test_a_trial_that_takes_too_long(trial: Trial, tmp_path: Path) -> None:
    installed(tmp_path)
    trial("begin")
    assert trial("expire").returncode == 0
    assert log(tmp_path) == ["bless bad", "systemctl reboot"]
    reason = "K3s is activating 901 s after the start; failed: k3s.service"
    assert state(tmp_path)["reason"] == reason
    back = ("gw_1.0.0.efi", "gw_1.1.0+0-1.efi")
    trial("begin", version="1.0.0", bless="good", boot=2, entries=back)
    assert (state(tmp_path)["phase"], state(tmp_path)["reason"]) == ("failed", reason)
    kept = (tmp_path / "state/failed.log").read_text()
    assert f"the last words of {BOOTS[1]}" in kept
    assert BOOTS[0] not in kept
    assert BOOTS[2] not in kept


def test_a_trial_without_k3s_names_what_does_not_run(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = tmp_path / "lib"
    shutil.copytree(ROOT / "usr/lib/edgeimg", library)
    shutil.copy(ROOT.parent / "no-k3s/usr/lib/edgeimg/unready", library)
    service = tmp_path / "edgeimg-service"
    service.write_text(
        "#!/bin/sh\necho 'NAME STATE HEALTH AT BOOT'\necho 'ssh active ok on 0'\n"
        "echo 'web failed - on 3'\n"
    )
    service.chmod(0o755)
    usual = environment

    def with_unready(directory: Path, **more: Path) -> dict[str, str]:
        return usual(directory, LIB=library, **more)

    monkeypatch.setattr("tests.unit.compose.test_updates.environment", with_unready)
    installed(tmp_path)
    trial("begin")
    assert trial("expire").returncode == 0
    reason = "not well: web 901 s after the start; failed: k3s.service"
    assert state(tmp_path)["reason"] == reason


def test_a_version_that_did_not_start(trial: Trial, tmp_path: Path) -> None:
    installed(tmp_path)
    back = ("gw_1.0.0.efi", "gw_1.1.0+0-3.efi")
    trial("begin", version="1.0.0", bless="good", boot=2, entries=back)
    assert state(tmp_path)["reason"] == "it did not start"
    line = subprocess.run(
        ["sh", ROOT / "usr/lib/edgeimg/problems.d/update"], env=environment(tmp_path),
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert line.startswith("update to 1.1.0 failed at ")
    assert "it did not start (journal: " in line


def test_the_previous_version_before_the_restart_is_no_failure(
    trial: Trial, tmp_path: Path
) -> None:
    installed(tmp_path)
    for boot in (0, 2):
        trial("begin", version="1.0.0", bless="good", boot=boot)
        assert state(tmp_path)["phase"] == "installed"


@pytest.mark.parametrize(
    ("others", "returns"),
    [
        ([], False), (["gw_1.2.0+0-3.efi"], False), (["other_1.0.0.efi"], False),
        (["gw_1.0.0.efi"], True), (["gw_1.0.0+3.efi"], True), (["gw_1.0.0+0-1.efi"], True),
    ],
)  # fmt: skip
def test_a_trial_ends_only_where_another_version_works(
    trial: Trial, tmp_path: Path, others: list[str], returns: bool
) -> None:
    installed(tmp_path)
    trial("expire", entries=["gw_1.1.0+2-1.efi", *others])
    assert log(tmp_path) == (["bless bad", "systemctl reboot"] if returns else [])


def test_a_release_carries_its_rollback_index() -> None:
    """Under the name that the gateway's transfer of it expects."""
    update = Update(url=URL, key="k", rollback_index=12)
    assert assemble.rollback_index(update) == {".rollback": b"rollback_index=12\n"}
    assert assemble.rollback_index(Update(url=URL, key="k")) == {}
    tree = updates.compose(update, b"ring")
    (transfer,) = [node.read() for path, node in tree.items() if path.endswith("index.transfer")]
    assert b"MatchPattern=%M_@v_%a.rollback\n" in transfer
