"""Which accelerator runs a guest. KVM is believed only after it has run one."""

from __future__ import annotations

import json
import os
import tempfile
import time
from pathlib import Path

from edgeimg import process
from edgeimg.arch import Arch
from edgeimg.cache.store import Store, key
from edgeimg.errors import EdgeimgError, HostError, ToolError
from edgeimg.progress import Progress
from edgeimg.tools import Toolbox
from edgeimg.vm.argv import Accel
from edgeimg.vm.qmp import Qmp

PROBE_SECONDS = 8.0
"""UEFI firmware prints its first line within one second under a working KVM."""
_KVM = Path("/dev/kvm")


def detect(
    arch: Arch, request: str, *, toolbox: Toolbox, store: Store, progress: Progress
) -> Accel:
    """The accelerator for `arch` on this host; `wanted` is `auto`, `kvm` or `tcg`.

    A device /dev/kvm proves little: on nested hosts an ordinary guest may die at its first
    instructions. So firmware is started with it once, and the answer is kept until the host
    restarts. Raises HostError when KVM is demanded and does not work.
    """
    if request == "tcg":
        return tcg(arch, "as requested")
    refusal = kvm_refusal(arch, toolbox, store)
    if not refusal:
        return Accel(name="kvm", argument="kvm", cpu="host", reason="KVM works on this host")
    if request == "kvm":
        raise HostError(
            f"KVM does not run {arch.name} guests on this host: {refusal}",
            hint="use --accel auto or tcg",
        )
    progress.debug(f"{arch.name}: emulated by TCG ({refusal})")
    return tcg(arch, refusal)


def tcg(arch: Arch, reason: str) -> Accel:
    """QEMU's emulator: works everywhere, some ten times slower."""
    return Accel(name="tcg", argument=arch.qemu.accel, cpu=arch.qemu.cpu, reason=reason)


def kvm_refusal(arch: Arch, toolbox: Toolbox, store: Store) -> str:
    """Why KVM cannot run guests of `arch` on this host; empty when it can."""
    if toolbox.host.name not in arch.qemu.kvm_hosts:
        return f"this host is {toolbox.host.name}"
    if not _KVM.exists():
        return "there is no /dev/kvm"
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return "no permission to open /dev/kvm"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()

    def probe(path: Path) -> None:
        path.write_text(json.dumps({"refusal": _probe(arch, toolbox)}))

    answer = store.derived(key("kvm", "1", boot, str(toolbox.root), arch.name), probe)
    return str(json.loads(answer.read_text())["refusal"])


def _probe(arch: Arch, toolbox: Toolbox) -> str:
    with tempfile.TemporaryDirectory(prefix="edgeimg-kvm-") as name:
        log, qmp = Path(name, "serial"), Path(name, "qmp")
        code = toolbox.path(arch.qemu.firmware_code)
        argv = toolbox.argv(
            arch.qemu.program,
            *("-no-user-config", "-nodefaults", "-display", "none", "-m", "128M"),
            *("-machine", arch.qemu.machine, "-accel", "kvm", "-cpu", "host"),
            *("-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={code}"),
            *("-L", str(toolbox.path("usr/share/qemu")), "-chardev", f"file,id=c,path={log}"),
            *("-serial", "chardev:c", "-qmp", f"unix:{qmp},server=on,wait=off"),
        )
        try:
            with process.start(argv, env=toolbox.environment()), Qmp(qmp) as monitor:
                return _watch(log, monitor)
        except (ToolError, OSError, EdgeimgError) as error:
            return f"a trial guest did not start: {error}"


def _watch(log: Path, monitor: Qmp) -> str:
    deadline = time.monotonic() + PROBE_SECONDS
    while time.monotonic() < deadline:
        status = monitor.status()
        if status != "running":
            return f"a trial guest stopped with '{status}'"
        if log.exists() and log.stat().st_size:
            return ""
        time.sleep(0.1)
    return f"the firmware of a trial guest printed nothing within {PROBE_SECONDS:.0f} s"
