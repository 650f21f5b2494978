"""Standard streams in any state, and signals: one line where it can be read, the right code."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg import __main__ as program
from edgeimg import cli
from edgeimg.cache import partials
from edgeimg.cli.answer import Answer
from edgeimg.ui import clean

EDGEIMG = f"{sys.executable} -m edgeimg"
HOSTILE = "a\x1b[31m\x1b]0;title\x07\x9b5m\u202e"


def manifest(path: Path, identity: str, version: str = "1") -> Path:
    image = {"id": identity, "version": version, "arch": "arm64", "epoch": 0}
    k3s = {"version": "v1", "source": "file", "sha256": "0", "standin": False}
    path.write_text(
        json.dumps(
            {
                "schema": "edgeimg-manifest-1",
                "image": image,
                "kernel": "6",
                "k3s": k3s,
                "packages": [],
                "components": {},
                "sizes": {},
                "root_hash": "0",
                "disk": {"uuid": "u", "size": 1, "partitions": []},
            }
        )
    )
    return path


@pytest.fixture
def diff(tmp_path: Path) -> str:
    """A command that prints what others wrote on standard output."""
    one = manifest(tmp_path / "a.manifest.json", HOSTILE)
    other = manifest(tmp_path / "b.manifest.json", HOSTILE + "ü", "2")
    return f"{EDGEIMG} diff {one} {other}"


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        ["bash", "-c", command], capture_output=True, timeout=60, env={**os.environ, **environment}
    )


@pytest.mark.parametrize("json", ["", " --json"])
def test_standard_output_that_takes_nothing_is_the_hosts_fault(diff: str, json: str) -> None:
    assert shell(diff + json).returncode == 0
    for place, why in (("/dev/full", "No space left on device"), ("&-", "Bad file descriptor")):
        result = shell(f"{diff}{json} >{place}")
        assert result.returncode == 13
        message = result.stderr.decode()
        assert f"error: cannot write to standard output: {why}\n" in message
        assert message.count("error:") == 1
        assert "bug in edgeimg" not in message
        assert "Exception ignored" not in message


@pytest.mark.parametrize("end", ["2>&-", "2>/dev/full", "2>&1 | true", "2>&- >&-"])
@pytest.mark.parametrize("json", ["", " --json"])
def test_standard_error_changes_no_exit_code(end: str, json: str) -> None:
    command = f"set -o pipefail; {EDGEIMG} inspect /dev/zero/nothing{json}"
    plain = shell(command).returncode
    assert plain not in (0, 1)
    assert shell(f"{command} {end}").returncode == plain


def test_closed_streams_are_not_files_that_are_opened_next(diff: str, tmp_path: Path) -> None:
    before = (tmp_path / "a.manifest.json").read_bytes()
    assert shell(f"{diff} 0>&- >&- 2>&-").returncode == 13
    assert (tmp_path / "a.manifest.json").read_bytes() == before


def test_ascii_gets_escapes(diff: str) -> None:
    result = shell(diff, PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C")
    assert result.returncode == 0
    assert b"\\xfc" in result.stdout


def test_a_pipe_that_nobody_reads_is_no_error(diff: str) -> None:
    result = shell(f"{diff} | true")
    assert result.stderr == b""


def test_control_sequences_of_others_stay_off_the_terminal(diff: str, tmp_path: Path) -> None:
    for output in (shell(diff).stdout, on_a_terminal(diff)):
        text = output.decode()
        assert "[31m" in text.replace("\ufffd", "")
        assert "\x1b[31m" not in text
        assert "\x1b]" not in text
        assert not {"\x07", "\x9b", "\u202e"} & set(text)
    (tmp_path / HOSTILE).mkdir()
    message = shell(f"{EDGEIMG} diff $'{tmp_path}/{HOSTILE}' x").stderr.decode()
    assert "rror: " in message
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(message)


def on_a_terminal(command: str) -> bytes:
    parent, child = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(
        ["bash", "-c", command], stdin=child, stdout=child, stderr=child, env=environment
    ) as process:
        os.close(child)
        found = bytearray()
        while True:
            try:
                data = os.read(parent, 65536)
            except OSError:
                break
            if not data:
                break
            found += data
        os.close(parent)
        assert process.wait(60) == 0
    assert b"\x1b[" in found  # its own styles are there
    return bytes(found)


def test_what_is_printed_keeps_newlines_and_tabs() -> None:
    assert clean("a\tb\nü\x00\x85\u2066") == "a\tb\nü\ufffd\ufffd\ufffd"


WAITING = """
import sys, threading, time
import edgeimg.cli as cli
import click
@click.command("doctor")
def waiting():
    print("ready", flush=True)
    time.sleep(60)
cli.Commands.get_command = lambda *_: waiting
sys.argv = ["edgeimg", "doctor"]
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_in_order(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", WAITING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),  # the tests may run under nohup
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted" in errors


ENDING = """
import atexit, sys, time
import edgeimg.cli as cli
def end():
    print("ready", flush=True)
    time.sleep(2)
atexit.register(end)
sys.argv = ["edgeimg", "--version"]
cli.main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_end_changes_nothing(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENDING],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(number, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"edgeimg")
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert errors == b""


def run_python(text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=False)


PRINTING = """
import os, signal, sys
import edgeimg.cli as cli
from edgeimg.cli.answer import Answer
Answer.print = lambda self: os.kill(os.getpid(), signal.SIGTERM)
sys.argv = ["edgeimg", "--version"]
cli.main()
"""


def test_a_signal_while_the_result_is_printed_is_one_line() -> None:
    done = run_python(PRINTING)
    assert done.returncode == 130
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: interrupted")


MAKING_A_CLASS = """
import os, signal, sys
import edgeimg.cli as cli
def make(*_):
    exec("os.kill(os.getpid(), signal.SIGTERM)", globals())
cli.Commands.get_command = make
sys.argv = ["edgeimg", "doctor"]
cli.main()
"""


def test_a_signal_while_a_class_is_made_has_the_same_exit_code(tmp_path: Path) -> None:
    """Python would end by SIGINT: its `exec` keeps in mind that it was interrupted."""
    (tmp_path / "making.py").write_text(MAKING_A_CLASS)
    done = subprocess.run(
        [sys.executable, "-m", "making"], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert "error: interrupted" in done.stderr
    assert done.returncode == 130


LACKING = """
import errno, sys
import edgeimg.cli as cli
def lack(*_):
    raise OSError(errno.ENOMEM, "Cannot allocate memory")
cli.Commands.get_command = lack
sys.argv = ["edgeimg", "doctor"]
cli.main()
"""


def test_memory_that_the_kernel_refuses_is_no_bug() -> None:
    done = run_python(LACKING)
    assert done.returncode == 13
    assert done.stderr.startswith("error: the memory of this host is used up\n")


def test_an_interrupted_start_shows_no_traceback(tmp_path: Path) -> None:
    """As if Ctrl-C were pressed while the command line is imported."""
    package = tmp_path / "edgeimg"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_bytes(Path(program.__file__).read_bytes())
    (package / "cli.py").write_text("print('ready', flush=True)\nimport time\ntime.sleep(60)\n")
    with subprocess.Popen(
        [sys.executable, "-m", "edgeimg"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert errors == b""


def test_nohup_is_heeded() -> None:
    command = f'trap "" HUP; exec {sys.executable} -c "$CODE"'
    with subprocess.Popen(
        ["bash", "-c", command], stdout=subprocess.PIPE, env={**os.environ, "CODE": WAITING}
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(signal.SIGHUP)
        time.sleep(0.5)
        assert process.poll() is None
        process.terminate()


LEFT = """
import sys, os, signal
from pathlib import Path
from edgeimg.cache import partials
from edgeimg.cli.answer import Answer
place = Path(sys.argv[1])
with partials.file(place / "image.raw") as one, partials.directory("secret-", place) as two:
    one.write_text("secret")
    (two / "token").write_text("secret")
    print(one.name, two.name, flush=True)
    sys.stdin.readline()
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_run_left_is_swept_and_what_a_live_one_writes_is_not(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LEFT, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        names = set(process.stdout.readline().split())

        def begun() -> set[str]:
            with partials.file(tmp_path / "other"), partials.directory("secret-", tmp_path) as two:
                mine = {f".other.{os.getpid()}.partial", two.name}
                return {path.name for path in tmp_path.iterdir()} - mine

        (tmp_path / ".other.7").write_text("not of edgeimg")
        assert begun() == names | {".other.7"}
        process.communicate("go\n", timeout=60)
    assert names <= {path.name for path in tmp_path.iterdir()}
    assert begun() == {".other.7"}
    assert {path.name for path in tmp_path.iterdir()} == {".other.7"}


def test_a_partial_file_is_its_owners_alone_and_may_become_the_file(tmp_path: Path) -> None:
    with partials.file(tmp_path / "x") as one:
        assert one.stat().st_mode & 0o777 == 0o600
        one.write_text("y")
        one.rename(tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_an_interrupt_while_a_class_is_made_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(cause: BaseException | None) -> Callable[..., None]:
        def main(**_: object) -> None:
            raise RuntimeError("Error calling __set_name__") from cause

        return main

    monkeypatch.setattr(cli.cli, "main", broken(KeyboardInterrupt()))
    assert cli._run(Answer()) == 130
    monkeypatch.setattr(cli.cli, "main", broken(None))
    assert cli._run(Answer()) == 1
