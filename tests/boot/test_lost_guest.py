"""A guest that its emulator lost is started again; one that only fails is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from edgeimg import tree
from edgeimg.arch import X86_64
from edgeimg.progress import Silent
from edgeimg.smoke import boots
from edgeimg.smoke.boots import Trial, boot_twice
from edgeimg.tools import Toolbox
from edgeimg.vm import accel
from edgeimg.vm.argv import GuestOptions

pytestmark = pytest.mark.boot

INIT = b"""\
#!/bin/sh
b=/usr/bin/busybox
exec > /dev/console 2>&1 < /dev/null
$b echo "rcu: rcu_preempt kthread timer wakeup didn't happen for 5251 jiffies!"
while :; do $b sleep 60; done
"""


def test_a_lost_guest_is_started_again_and_at_last_judged(
    tiny, toolbox: Callable[[str], Toolbox], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boots, "LOSSES", 1)
    image = tiny.make(X86_64, {"usr/bin/init": tree.file(INIT, mode=0o755)}, tmp_path)
    trial = Trial(
        arch=X86_64,
        raw=image.raw,
        accel=accel.tcg(X86_64, "a test"),
        options=GuestOptions(),
        seconds=100,
        directory=tmp_path,
        toolbox=toolbox("qemu"),
    )
    (boot,), lost = boot_twice(trial, Silent())
    assert lost == 1
    assert "no 'userland' after 40 s" in boot.problem
    assert "timer wakeup" in (tmp_path / "console.lost-1.log").read_text()
    assert "timer wakeup" in (tmp_path / "console.log").read_text()
