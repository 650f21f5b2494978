"""The command line: the only place that prints results and exits.

Data goes to stdout, everything else to stderr. Exit codes: 0 ok, 1 failed, 2 usage,
130 interrupted, and one per cause as listed in `edgeimg.errors`.
"""

from __future__ import annotations

import errno
import importlib
import io
import signal
import sys
import tempfile
import traceback
from types import FrameType
from typing import NoReturn

import click
from rich.text import Text

from edgeimg import __version__, process
from edgeimg.cli import streams
from edgeimg.cli.answer import Answer
from edgeimg.errors import INTERRUPTED, USAGE, EdgeimgError, HostError
from edgeimg.ui import brief, new_console

EPILOG = """
\b
Examples:
  edgeimg build --arch arm64        one image of the default recipe
  edgeimg build --arch all          all three architectures
  edgeimg smoke --arch all          boot them and see a pod run
"""


SECTIONS = {
    "Projects and their inputs": {
        "init": "project", "lock": "inputs", "show": "project", "eject": "project",
        "mirror": "inputs", "board": "boards",
    },
    "Images": {
        "build": "images", "check": "images", "demo": "guests", "smoke": "guests",
        "run": "guests", "inspect": "images", "diff": "release", "sbom": "inventory",
        "cve": "inventory", "hardware": "hardware",
    },
    "Releases": {
        "release": "release", "verify": "trust", "genkey": "trust", "revoke": "boot_keys",
        "rollout": "rollout", "matrix": "matrix",
    },
    "Gateways": {
        "devices": "flashing", "flash": "flashing", "install": "installing",
        "installer": "installer", "provision": "provisioning", "fleet": "fleet",
    },
    "This computer": {"doctor": "project", "clean": "inputs", "completion": "project"},
}  # fmt: skip
"""The commands as `--help` shows them, and which module of this package has each."""
PLACES = {name: module for names in SECTIONS.values() for name, module in names.items()}


_NO_MEMORY = "the memory of this host is used up"
_FREE_MEMORY = "free some memory, or look for an input that is far larger than others"
_INTERRUPTED = "interrupted; finished work is kept, run the command again to continue"
HOSTS_FAULT = {
    errno.EACCES: "check its owner and mode, or choose another place",
    errno.EPERM: "check its owner and mode, or choose another place",
    errno.EROFS: "it is on a read-only file system: choose another place",
    errno.ENOSPC: "free some space (`edgeimg clean` empties the cache) and run it again",
    errno.EDQUOT: "free some space (`edgeimg clean` empties the cache) and run it again",
    errno.EIO: "its disk is broken: look at the kernel's log",
    errno.ENOTDIR: "a part of that path is a file",
    errno.ENAMETOOLONG: "choose another place",
    errno.ELOOP: "its symbolic links lead in circles",
}
"""Hints for errors of the operating system that no other code handles. They are not bugs."""


class Commands(click.Group):
    """The commands. Each is imported when it is used, because few need much of the builder."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names."""
        del ctx
        return sorted(PLACES)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the sections, with their columns at one place."""
        width = max(map(len, PLACES))
        for title, names in SECTIONS.items():
            commands = ((name, self.get_command(ctx, name)) for name in names)
            with formatter.section(title):
                formatter.write_dl(
                    [
                        (name.ljust(width), command.get_short_help_str(formatter.width - width - 6))
                        for name, command in commands
                        if command is not None
                    ]
                )

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, if there is one."""
        del ctx
        if cmd_name not in PLACES:
            return None
        module = importlib.import_module(f"{__name__}.{PLACES[cmd_name]}")
        command: click.Command = next(
            candidate for candidate in module.COMMANDS if candidate.name == cmd_name
        )
        return command


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=EPILOG,
)
@click.version_option(__version__)
def cli() -> None:
    """Build minimal, immutable OS images with K3s for edge gateways.

    From one TOML recipe and its lock, for x86-64, ARM64 and ARMv7, without root.
    """


def main() -> NoReturn:
    """Run the command line and exit with the documented code."""
    streams.prepare()
    for signum in process.ENDING:
        if signum != signal.SIGHUP or signal.getsignal(signum) != signal.SIG_IGN:  # nohup(1)
            signal.signal(signum, _interrupt)
    answer = Answer()
    code = 0
    try:
        code = _run(answer)
        answer.print()
        sys.stdout.flush()
    except BrokenPipeError:
        streams.abandon_output()
        code = code or 1
    except HostError as error:  # standard output cannot be written
        streams.abandon_output()
        code = code or _fail(Answer(), error.message, error.hint, error.exit_code)
    except KeyboardInterrupt:  # while the result or an error is printed
        code = _fail(Answer(), _INTERRUPTED, None, INTERRUPTED)
    _ignore_signals()  # the work is done: Python's teardown has nothing to interrupt
    # CPython ends by SIGINT, whatever the code, after a KeyboardInterrupt has left exec(), which
    # dataclasses use. The next exec() that returns undoes that.
    exec("")  # noqa: S102
    sys.exit(code)


def _run(answer: Answer) -> int:
    try:
        cli.main(standalone_mode=False, obj=answer)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        buffer = io.StringIO()
        error.show(buffer)
        streams.say(brief(buffer.getvalue().rstrip()))
        return USAGE if isinstance(error, click.UsageError) else error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return _fail(answer, _INTERRUPTED, None, INTERRUPTED)
    except BrokenPipeError:
        raise
    except EdgeimgError as error:
        return _fail(answer, error.message, error.hint, error.exit_code)
    except OSError as error:
        if error.errno == errno.ENOMEM:
            return _fail(answer, _NO_MEMORY, _FREE_MEMORY, HostError.exit_code)
        if error.filename is None or error.errno not in HOSTS_FAULT:
            return _bug(answer, error)
        message = f"cannot use {error.filename}: {error.strerror}"
        return _fail(answer, message, HOSTS_FAULT[error.errno], HostError.exit_code)
    except MemoryError:
        return _fail(answer, _NO_MEMORY, _FREE_MEMORY, HostError.exit_code)
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # Python's, while a class is made
            return _fail(answer, _INTERRUPTED, None, INTERRUPTED)
        if isinstance(error, RuntimeError) and "start new thread" in str(error):
            hint = "allow edgeimg more memory and processes (`ulimit -v`, `ulimit -u`)"
            return _fail(answer, f"this host: {error}", hint, HostError.exit_code)
        if isinstance(error, RuntimeError) and "Symlink loop" in str(error):  # of Path.resolve
            return _fail(answer, str(error), HOSTS_FAULT[errno.ELOOP], HostError.exit_code)
        return _bug(answer, error)
    return 0


def _bug(answer: Answer, error: Exception) -> int:
    message = f"this is a bug in edgeimg: {error!r}"
    return _fail(answer, message, f"please report it with {_keep_trace()}", 1)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    del signum, frame
    _ignore_signals()  # Cleaning up takes seconds at most; a second Ctrl-C must not cut it short.
    raise KeyboardInterrupt


def _ignore_signals() -> None:
    for signum in process.ENDING:
        signal.signal(signum, signal.SIG_IGN)


def _fail(answer: Answer, message: str, hint: str | None, code: int) -> int:
    message = brief(message)
    if "--json" in sys.argv:  # a command line that cannot be parsed never set it
        answer.add({"error": {"message": message, "hint": hint, "exit_code": code}})
    console = new_console(stderr=True)
    console.print(Text("error: ", style="bold red") + Text(message), soft_wrap=True)
    if hint:
        console.print(Text("  hint: ", style="bold") + Text(hint), soft_wrap=True)
    return code


def _keep_trace() -> str:
    with tempfile.NamedTemporaryFile(
        "w", prefix="edgeimg-", suffix=".traceback", delete=False
    ) as file:
        traceback.print_exc(file=file)
    return file.name
