"""The files that every guest gets: scripts run here where that means something, units read."""

from __future__ import annotations

import configparser
import json
import os
import pty
import re
import select
import shutil
import socket
import subprocess
import time
import tomllib
import tty
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edgeimg.compose.presets import apply_presets, read_rules
from edgeimg.smoke.verdict import STAGES
from edgeimg.tree.overlay import from_directory

from tests.shell_files import ROOT, shell_files

BASE = Path(__file__).parents[2] / "overlays" / "base"
SCRIPTS = sorted(
    path
    for place in (
        BASE / "usr/lib/edgeimg",
        BASE / "usr/bin",
        BASE / "usr/local/bin",
        BASE.parent / "services",
        BASE.parent / "updates",
        BASE.parent / "rollout",
        BASE.parent / "iscsi",
        BASE.parent / "no-k3s",
    )
    for path in place.rglob("*")
    if path.is_file() and not path.is_symlink() and path.read_bytes().startswith(b"#!")
)
AWK = sorted(
    path for name in ("base", "no-k3s") for path in (BASE.parent / name).rglob("*.awk")
)  # fmt: skip
SHELL = [*SCRIPTS, BASE / "usr/lib/edgeimg/facts.sh"]
UNITS = sorted(
    path for path in (BASE / "usr/lib/systemd/system").rglob("*") if path.is_file()
    and not path.is_symlink()
)  # fmt: skip
REPORT = BASE / "usr/lib/edgeimg/report"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_executable_and_parse_as_posix_shell(script: Path) -> None:
    assert os.access(script, os.X_OK)
    assert script.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["dash" if shutil.which("dash") else "sh", "-n", script], check=True)


def test_check_looks_at_every_script_of_the_guest() -> None:
    """As shell scripts, which are found by their first line (tests/levels.py, `check`)."""
    assert {str(path.relative_to(ROOT)) for path in SHELL} <= set(shell_files())


def test_the_reporters_stages_are_the_hosts() -> None:
    text = REPORT.read_text()
    waits = [line.split()[1] for line in text.splitlines() if line.strip().startswith("wait_for ")]
    named = list(dict.fromkeys(waits))  # an agent waits for some of them
    assert ("userland", *named) == STAGES
    assert "stage userland" in text


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.name)
def test_units_are_described_and_their_programs_exist(unit: Path) -> None:
    parser = configparser.RawConfigParser(strict=False, delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(unit)
    if unit.suffix != ".conf":
        assert parser.get("Unit", "Description")
    for line in unit.read_text().splitlines():
        key, _, value = line.partition("=")
        program = value.lstrip("-@+!:").split(" ")[0]
        if key.startswith("Exec") and program.startswith("/usr/lib/edgeimg/"):
            assert (BASE / program.lstrip("/")).is_file()


def test_presets_name_every_unit_of_ours_with_an_install_section() -> None:
    rules = read_rules(from_directory(BASE, origin="test"))
    enabled = {rule.pattern for rule in rules if rule.enable}
    installable = {unit.name for unit in UNITS if "[Install]" in unit.read_text()}
    assert installable <= enabled
    assert rules[-1].pattern == "*"
    assert not rules[-1].enable


def test_enabling_makes_the_links_that_start_the_system() -> None:
    given = from_directory(BASE, origin="test")
    enabled = {rule.pattern for rule in read_rules(given) if rule.enable}
    tree = apply_presets(given)
    links = {path for path, _ in tree.under("etc/systemd/system")}
    assert "etc/systemd/system/local-fs.target.requires/var.mount" in links
    assert "etc/systemd/system/multi-user.target.wants/k3s.service" in links
    assert "etc/systemd/system/boot-complete.target.requires/edgeimg-healthy.service" in links
    units = [path for path in links if tree[path].target]
    assert {path.rpartition("/")[2] for path in units} <= enabled


def test_containerd_and_the_recipe_agree_on_the_socket() -> None:
    config = tomllib.loads((BASE / "etc/containerd/config.toml").read_text())
    recipe = tomllib.loads((BASE.parents[1] / "recipes/gateway.toml").read_text())
    address = recipe["k3s"]["config"]["container-runtime-endpoint"]
    assert config["version"] == 3
    assert address == f"unix://{config['grpc']['address']}"


def resolv(state: str, tmp_path: Path) -> str:
    given, written = tmp_path / "state", tmp_path / "resolv.conf"
    given.write_text(state)
    subprocess.run([BASE / "usr/lib/edgeimg/resolv", given, written], check=True)
    return written.read_text()


def test_name_servers_from_networkds_state(tmp_path: Path) -> None:
    state = "OPER_STATE=routable\nDNS=10.0.2.3 9.9.9.9#dns.example fd00::3 1.1.1.1\nDOMAINS=lan\n"
    assert resolv(state, tmp_path).splitlines()[1:] == [
        "nameserver 10.0.2.3",
        "nameserver 9.9.9.9",
        "nameserver fd00::3",
        "search lan",
    ]


def test_no_name_servers_is_an_empty_list_not_an_error(tmp_path: Path) -> None:
    assert len(resolv("OPER_STATE=off\n", tmp_path).splitlines()) == 1


def test_pods_end_by_signal_and_what_is_left_is_killed(tmp_path: Path) -> None:
    group = tmp_path / "kubepods"
    group.mkdir()
    (group / "cgroup.kill").write_text("")
    (group / "cgroup.events").write_text("populated 1\n")
    with subprocess.Popen(["sleep", "60"]) as process:
        (group / "cgroup.procs").write_text(f"{process.pid}\n")
        subprocess.run([BASE / "usr/lib/edgeimg/stop-pods", group, "1"], check=True)
        assert process.wait(5) == -15
    assert (group / "cgroup.kill").read_text() == "1\n"


class Port:
    """The reporter on a pseudo terminal, in place of the virtual machine's port."""

    def __init__(self, master: int) -> None:
        self._master, self._buffer = master, b""

    def send(self, command: str) -> None:
        os.write(self._master, f"{command}\n".encode())

    def event(self) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while b"\n" not in self._buffer:
            assert time.monotonic() < deadline, "the reporter said nothing"
            if select.select([self._master], [], [], 0.5)[0]:
                self._buffer += os.read(self._master, 65536)
        line, _, self._buffer = self._buffer.partition(b"\n")
        event: dict[str, Any] = json.loads(line)
        return event


@pytest.fixture
def port(tmp_path: Path) -> Iterator[Port]:
    master, slave = pty.openpty()
    tty.setraw(slave)
    environment = {**os.environ, "KUBECONFIG": str(tmp_path / "none")}
    with subprocess.Popen(
        [REPORT, os.ttyname(slave)],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    ) as process:
        yield Port(master)
        os.killpg(process.pid, 9)
    os.close(master)
    os.close(slave)


@pytest.mark.skipif(not Path("/etc/os-release").exists(), reason="not a Linux distribution")
def test_the_reporter_tells_the_truth_about_this_machine(port: Port) -> None:
    # The sampler speaks for itself, at once and then every five seconds or so.
    first = {(event := port.event())["event"]: event for _ in range(2)}
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    total = int(Path("/proc/meminfo").read_text().split()[1])
    assert first["stage"]["name"] == "userland"
    for event in first.values():
        assert 0 <= uptime - event["uptime"] < 20
        assert 0 < event["memory_used"] < total

    with socket.create_server(("127.0.0.1", 0)) as server:
        port.send("report")
        while (report := port.event())["event"] == "sample":
            pass
        address = f"tcp 127.0.0.1:{server.getsockname()[1]}"
    assert report["event"] == "report"
    assert report["boot_id"] == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert report["kernel"] == os.uname().release
    assert address in report["listening"]
    memory = report["memory_kib"]
    assert memory["total"] == total
    assert 0 < memory["used"] <= memory["peak"] < total
    assert report["var_kib"]["size"] > 0
    assert report["node"]["ready"] == ""
    assert report["node"]["current"] is False


@pytest.mark.parametrize(
    ("mib", "k3s", "containerd"),
    [(460, 207, 46), (300, 160, 32), (200, 140, 32)],
    ids=["as much as promised", "floors", "no more than there is"],
)
def test_collectors_are_given_room(mib: int, k3s: int, containerd: int, tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: {mib << 10} kB\nMemFree: 1 kB\n")
    (tmp_path / "modprobe").write_text("#!/bin/sh\nexit 1\n")  # the rest needs a kernel's zram
    (tmp_path / "modprobe").chmod(0o755)
    script = (BASE / "usr/lib/edgeimg/memory").read_text()
    script = script.replace("/proc/meminfo", f"{tmp_path}/meminfo")
    script = script.replace("/run/edgeimg", f"{tmp_path}/run")
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert subprocess.run(["sh", "-c", script], env=env, check=False).returncode == 1
    for name, expected in (("k3s", k3s), ("containerd", containerd)):
        (line,) = (tmp_path / f"run/{name}.env").read_text().splitlines()
        assert line == f"GOMEMLIMIT={expected << 10}KiB"


@pytest.mark.parametrize(
    ("states", "asked"),
    [
        # containerd's and K3s' states one after the other; whether K3s was considered
        (["active active 1"], []),
        (["activating inactive 0", "active active 1"], []),
        # A start that failed on a busy gateway.
        (["active activating 1", "active failed 1", "active active 1"], []),
        # K3s was not started, because containerd was late.
        (["failed inactive 0", "active inactive 0", "active active 1"], ["start k3s.service"]),
        # It waits to be provisioned.
        (["active inactive 1"], []),
    ],
)
def test_a_version_works_once_k3s_runs(tmp_path: Path, states: list[str], asked: list[str]) -> None:
    for number, state in enumerate(states):
        (tmp_path / f"state.{number}").write_text(f"{state}\n")
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        f"""#!/bin/sh
        case $* in *--no-block*) echo "$2" "$3" >> {tmp_path}/asked; exit ;; esac
        now=$(cat {tmp_path}/now 2> /dev/null || echo 0)
        read -r containerd k3s considered < {tmp_path}/state.$now
        case $* in
            *ActiveState\\ containerd*) echo $containerd ;;
            *ActiveState*) echo $k3s ;;
            *ConditionTimestamp*) echo $considered ;;
        esac
        """
    )
    sleep = tmp_path / "sleep"
    sleep.write_text(
        f"#!/bin/sh\necho $(($(cat {tmp_path}/now 2> /dev/null || echo 0) + 1)) > {tmp_path}/now\n"
    )
    for program in (systemctl, sleep):
        program.chmod(0o755)
    subprocess.run(
        ["sh", BASE / "usr/lib/edgeimg/works"], check=True, timeout=30,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    rounds = (tmp_path / "now").read_text().strip() if (tmp_path / "now").exists() else "0"
    assert int(rounds) == len(states) - 1
    written = tmp_path / "asked"
    assert (written.read_text().splitlines() if written.exists() else []) == asked


@pytest.mark.parametrize("script", SCRIPTS + AWK, ids=lambda path: path.name)
def test_no_bracket_of_awk_holds_an_escaped_slash(script: Path) -> None:
    """busybox takes it for a backslash and a slash, so that a backslash would be let through."""
    assert [
        line
        for line in script.read_text().splitlines()
        if re.search(r"\[[^]]+\\/[^]]*\]", line) and not re.search(r"\bsed\b", line)
    ] == []
