"""The dialogue of the installer's stick, with programs of the test in the place of edgeimg."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from edgeimg.install import consoles

from tests.terminal import Terminal

SESSION = Path(__file__).parents[3] / "overlays/installer/usr/lib/edgeimg/installer-session"
PYTHON = """#!/bin/sh
echo "edgeimg: $*"
[ ! -e "$STATE/slow" ] || { echo waiting; exec sleep 60; }
exit 3
"""
SYSTEMCTL = """#!/bin/sh
case $1 in
    is-system-running) cat "$STATE/state" ;;
    *) echo "systemctl: $1" ;;
esac
"""


@dataclass
class Dialogue:
    """A running dialogue and somebody who answers."""

    folder: Path
    terminal: Terminal = field(default_factory=Terminal)
    status: list[int] = field(default_factory=list)
    thread: threading.Thread | None = None

    def start(self) -> None:
        argv = ["sh", str(SESSION), str(self.folder / "installer")]

        def work() -> None:
            self.status.append(consoles.run(argv, [self.terminal.path], io.BytesIO()))
            self.terminal.hang_up()

        self.thread = threading.Thread(target=work)
        self.thread.start()

    def until(self, text: str) -> str:
        return self.terminal.until(text)

    def type(self, text: str) -> None:
        self.terminal.type(text)

    def end(self) -> int:
        self.type("p\n")
        self.until("systemctl: poweroff")
        assert self.thread is not None
        self.thread.join(20)
        return self.status[0]


@pytest.fixture
def dialogue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Dialogue]:
    programs = tmp_path / "programs"
    (tmp_path / "installer").mkdir()
    programs.mkdir()
    for name, text in (("python3", PYTHON), ("systemctl", SYSTEMCTL)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (tmp_path / "state").write_text("running\n")
    monkeypatch.setenv("PATH", str(programs), prepend=":")
    monkeypatch.setenv("STATE", str(tmp_path))
    yield Dialogue(folder=tmp_path)


def test_without_rules_it_asks_with_what_is_there(dialogue: Dialogue) -> None:
    folder = dialogue.folder / "installer"
    for name in ("key.asc", "fleet.csv", "defaults.toml"):
        (folder / name).touch()
    dialogue.start()
    dialogue.until(
        f"edgeimg: -m edgeimg install {folder}/images --ledger {folder}/install.ledger.jsonl "
        f"--key {folder}/key.asc --fleet {folder}/fleet.csv --defaults {folder}/defaults.toml"
    )
    dialogue.until("ended with exit code 3")
    assert "by the rules" not in dialogue.until("> ")
    assert dialogue.end() == 0


def test_rules_come_first_and_are_asked_for_again(dialogue: Dialogue) -> None:
    rules = dialogue.folder / "installer/install.toml"
    rules.touch()
    dialogue.start()
    dialogue.until(f"edgeimg: -m edgeimg install --rules {rules}")
    assert "a  install by the rules" in dialogue.until("> ")
    dialogue.type("nonsense\nm\n")
    dialogue.until("/images --ledger")
    dialogue.until("> ")
    dialogue.type("a\n")
    dialogue.until("install --rules")
    dialogue.until("> ")
    assert dialogue.end() == 0


def test_ctrl_c_ends_the_installation_and_not_the_dialogue(dialogue: Dialogue) -> None:
    (dialogue.folder / "slow").touch()
    dialogue.start()
    dialogue.until("waiting")
    dialogue.type("\x03")
    dialogue.until("ended with exit code 130")
    dialogue.until("> ")
    dialogue.type("\x03")
    dialogue.until("> ")
    assert dialogue.end() == 0


def test_a_machine_that_goes_down_asks_nothing(dialogue: Dialogue) -> None:
    (dialogue.folder / "state").write_text("stopping\n")
    dialogue.start()
    assert "restart" not in dialogue.until("ended with exit code 3")
    assert dialogue.thread is not None
    dialogue.thread.join(20)
    assert dialogue.status == [0]
