"""edgeimg provision, as a technician calls it; the disk is a directory here."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from edgeimg.errors import ProvisionError
from edgeimg.provision import folder as provisioned
from edgeimg.trust import keys
from jsonschema import Draft202012Validator

from tests.integration.signing import gpg_home, make_key

HUSH = "hush-hush-0123456789"
AGENT = 'hostname = "box-1"\n[k3s]\nrole = "agent"\nserver = "https://10.0.0.1:6443"\n'


def edgeimg(*arguments: str | Path, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from edgeimg.cli import main; main()", "provision", *arguments],
        cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}, timeout=120,
    )  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "box.toml").write_text(f'{AGENT}token_file = "token"\n')
    (tmp_path / "token").write_text(f"{HUSH}\n")
    (tmp_path / "card").mkdir()
    return tmp_path


def test_the_example_is_good_and_says_every_table(folder: Path) -> None:
    example = edgeimg("--example", folder=folder).stdout
    (folder / "example.toml").write_text(example)
    done = edgeimg("--check", "example.toml", folder=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "the settings are valid" in done.stdout
    schema = json.loads(edgeimg("--schema", folder=folder).stdout)
    # Everything that is commented out, too.
    lines = [re.sub(r"^# (?=\[|[a-z_]+ = )", "", line) for line in example.splitlines()]
    whole = tomllib.loads("\n".join(lines))
    Draft202012Validator(schema).validate(whole)
    assert set(schema["properties"]) == set(whole)


def test_files_are_put_into_a_mounted_partition_and_replace_the_earlier_ones(folder: Path) -> None:
    old = folder / "card/edgeimg/network/10-old.network"
    old.parent.mkdir(parents=True)
    old.write_text("[Match]\nName=x\n")
    (folder / "card/README.txt").write_text("kept")
    (folder / "card/edgeimg/.mine").write_text("kept")
    done = edgeimg("card", "box.toml", "--yes", "--json", folder=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("nothing is mounted on card") == 1
    assert HUSH not in done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert {file["path"]: file["secret"] for file in told["files"]} == {
        "edgeimg/hostname": False, "edgeimg/k3s.yaml": True,
    }  # fmt: skip
    found = {path.relative_to(folder / "card") for path in (folder / "card").rglob("*.*")}
    assert found == {Path("README.txt"), Path("edgeimg/.mine"), Path("edgeimg/k3s.yaml")}
    secret = folder / "card/edgeimg/k3s.yaml"
    assert HUSH in secret.read_text()
    assert secret.stat().st_mode & 0o077 == 0


def test_a_directory_of_somebody_else_is_left_as_it_is(folder: Path) -> None:
    checkout = folder / "card/edgeimg"
    (checkout / "network").mkdir(parents=True)
    for name in ("README.md", "main.py", "network/card.py"):
        (checkout / name).write_text("mine")
    done = edgeimg("card", "box.toml", "--yes", folder=folder)
    assert done.returncode == 19
    assert "card/edgeimg holds what no provisioning put there: main.py" in done.stderr
    assert "partition CONFIG is mounted" in done.stderr
    assert sorted(path.name for path in checkout.rglob("*")) == [
        "README.md", "card.py", "main.py", "network",
    ]  # fmt: skip


def test_nothing_is_written_unasked_where_nothing_is_mounted(folder: Path) -> None:
    done = edgeimg("card", "box.toml", folder=folder)
    assert done.returncode == 13
    assert "nothing is mounted on card and there is no terminal to ask on" in done.stderr
    assert "add --yes" in done.stderr
    assert list((folder / "card").iterdir()) == []


def test_files_that_do_not_read_back_are_told(tmp_path: Path) -> None:
    # Two names of one file, in the place of a medium that does not keep what it is given.
    wanted = {"edgeimg/hostname": b"box-1\n", "edgeimg/./hostname": b"box-2\n"}
    with pytest.raises(ProvisionError, match="is not what was written"):
        provisioned.write(tmp_path, wanted)


def test_what_would_be_written_is_shown_with_stars(folder: Path) -> None:
    for arguments in (["--show"], ["--show", "--json"]):
        done = edgeimg(*arguments, "box.toml", folder=folder)
        assert done.returncode == 0, done.stderr
        assert HUSH not in done.stdout + done.stderr
        assert "********" in done.stdout
        assert "https://10.0.0.1:6443" in done.stdout


def test_an_image_with_a_key_gets_signed_settings_only(folder: Path) -> None:
    signer = ["--sign", "Settings", "--set-serial", "7"]
    with gpg_home() as home:
        key = make_key(home, "Settings")
        (folder / "settings.asc").write_bytes(keys.export(key))
        (folder / "gateway.toml").write_text(
            'include = ["edgeimg:gateway"]\n[provision]\nkey = "settings.asc"\n'
        )
        named = ["card", "box.toml", "--yes", "--recipe", "gateway.toml"]
        unsigned = edgeimg(*named, folder=folder)
        assert unsigned.returncode == 19
        assert "card takes signed settings only" in unsigned.stderr
        assert list((folder / "card").iterdir()) == []
        signed = edgeimg(*named, *signer, "--sign-home", home, folder=folder)
        assert (signed.returncode, HUSH in signed.stdout) == (0, False), signed.stderr
        written = {path.name for path in (folder / "card/edgeimg").iterdir()}
        assert written == {"hostname", "k3s.yaml", "settings.sums", "settings.sums.gpg"}
        document = (folder / "card/edgeimg/settings.sums").read_text().splitlines()
        assert document[:3] == ["edgeimg-settings 1", "serial=7", "gateway=box-1"]
        # The built-in recipe has no key: its gateways could not read the signature's files.
        other = edgeimg("card", "box.toml", "--yes", *signer, "--sign-home", home, folder=folder)
        assert other.returncode == 19
        assert "takes no signed settings" in other.stderr
    # Unsigned settings leave nothing of the signed ones behind.
    assert edgeimg("card", "box.toml", "--yes", folder=folder).returncode == 0
    written = {path.name for path in (folder / "card/edgeimg").iterdir()}
    assert written == {"hostname", "k3s.yaml"}


def test_errors_are_told_whole_with_their_exit_code(folder: Path) -> None:
    (folder / "bad.toml").write_text('hostnam = "a"\ntimezone = "x"\n')
    done = edgeimg("--check", "bad.toml", "--json", folder=folder)
    assert done.returncode == 19
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == 19
    assert [line.strip()[:10] for line in error["message"].splitlines()[1:]] == [
        "bad.toml:1", "bad.toml:2",
    ]  # fmt: skip
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "expected"),
    [
        ([], 2, "expected TARGET and SETTINGS"),
        (["card"], 2, "expected TARGET and SETTINGS"),
        (["--check"], 2, "expected SETTINGS"),
        (["--check", "box.toml", "box.toml"], 19, "expected one file of settings"),
        (["--check", "nowhere.toml"], 19, "cannot read the settings nowhere.toml"),
        (["--check", "card"], 19, "has no settings"),
        (["nowhere", "box.toml"], 13, "cannot provision nowhere: No such file"),
        (["token", "box.toml", "-o", "x.qcow2"], 14, "ends in .raw"),
        (["card", "box.toml", "-o", "x.raw"], 13, "--output is for images"),
    ],
)
def test_mistakes_are_told(folder: Path, arguments: list[str], code: int, expected: str) -> None:
    done = edgeimg(*arguments, folder=folder)
    assert (done.returncode, expected in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["box.toml", "card", "token"]


def test_a_missing_secret_is_an_error_where_nobody_can_be_asked(folder: Path) -> None:
    (folder / "box.toml").write_text(AGENT)
    done = edgeimg("card", "box.toml", folder=folder)
    assert done.returncode == 19
    assert "box.toml:2: k3s.token_file: is missing, and nobody can be asked here" in done.stderr


def test_a_secret_that_is_typed_is_not_echoed(folder: Path) -> None:
    (folder / "box.toml").write_text(AGENT)
    terminal, inner = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", "from edgeimg.cli import main; main()", "provision", "card",
         "box.toml"],
        cwd=folder, stdin=inner, stdout=inner, stderr=inner, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    ) as process:  # fmt: skip
        os.close(inner)
        answers = {b"token of the cluster": HUSH, b"Write? [y/N]": "y"}
        screen, deadline = b"", time.monotonic() + 120
        while time.monotonic() < deadline:
            if select.select([terminal], [], [], 1)[0]:
                try:
                    screen += os.read(terminal, 4096)
                except OSError:  # the program has ended
                    break
            for question in [one for one in answers if one in screen and b":" in screen[-4:]]:
                os.write(terminal, f"{answers.pop(question)}\n".encode())
        assert process.wait(30) == 0, screen
    os.close(terminal)
    assert HUSH.encode() not in screen
    assert b"nothing is mounted on card" in screen
    assert HUSH in (folder / "card/edgeimg/k3s.yaml").read_text()
