"""One gateway with a screen, through factory resets that the power is cut in, and a ruined disk.

EDGEIMG_TEST_POWER_CUTS is how many times the power is cut in the reset (2).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from edgeimg import tree
from edgeimg.arch import ARCHITECTURES, Arch
from edgeimg.pack import disk, esp
from edgeimg.tools import Toolbox
from edgeimg.vm.disk import raw_image

from tests import fat_files
from tests.console import Console, GuestLostError, Switch, powered, switched
from tests.gateway import PROJECT

pytestmark = pytest.mark.boot
EDGEIMG = shutil.which("edgeimg") or "edgeimg"
CUTS = int(os.environ.get("EDGEIMG_TEST_POWER_CUTS", "2"))
TOKEN = "0123456789abcdef-of-the-fleet"
FILES = {
    "hostname": "box-7\n",
    "k3s.yaml": f'role: "server"\ntoken: "{TOKEN}"\n',
}
VOLUME = "/var/lib/rancher/k3s/storage/volume"
SET = "/var/lib/edgeimg/provision"
INIT = b"""\
#!/bin/sh
exec > /dev/console 2>&1 < /dev/null
/usr/bin/busybox echo "TINY started with $(/usr/bin/busybox cat /proc/cmdline)"
exec /usr/bin/busybox sleep 600
"""
DOWN = "\x1b[B"


@pytest.fixture(scope="module")
def raw(cache, toolbox: Callable[[str], Toolbox], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default image, provisioned."""
    done = subprocess.run(
        [EDGEIMG, "build", "-a", "amd64", "--k3s", "standin", "-o", "out/test", "--json"],
        cwd=PROJECT, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    (image,) = json.loads(done.stdout)["images"]
    path = tmp_path_factory.mktemp("image") / "disk.raw"
    subprocess.run(
        ["cp", "--sparse=always", raw_image(PROJECT / image["image"], cache), path], check=True
    )
    config = disk.read(path, toolbox=toolbox("pack"))["config"]
    with tempfile.TemporaryDirectory() as name:
        for file, text in FILES.items():
            Path(name, file).write_text(text)
        sources = {f"edgeimg/{file}": Path(name, file) for file in FILES}
        fat_files.add(path, sources, offset=config.start, toolbox=toolbox("pack"))
    return path


@pytest.fixture(scope="module")
def power(
    raw: Path, toolbox: Callable[[str], Toolbox], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Switch]:
    """The one gateway of this module."""
    work = tmp_path_factory.mktemp("gateway")
    with switched(raw, work, toolbox=toolbox("qemu"), screen="VGA", network=True) as switch:
        yield switch


def choose_reset(gateway: Console) -> None:
    """Hold the space bar, take the second entry of the boot menu."""
    gateway.wait_for("Factory reset", 120, typing=" ")
    gateway.type(DOWN)
    gateway.wait_for("Switch it off within 10 s", typing="\r")


def reset_by_menu(gateway: Console) -> None:
    choose_reset(gateway)
    gateway.wait_for_shell()


def screen(gateway: Console) -> str:
    """The text on the screen, without its colours."""
    return gateway.run("fold -w $(stty size < /dev/tty1 | cut -d ' ' -f 2) /dev/vcs1")


def identity(gateway: Console) -> str:
    """The machine id; fails when it is not the provisioned gateway."""
    assert gateway.run("hostname").strip() == "box-7"
    assert TOKEN in gateway.run(f"cat {SET}/k3s.yaml")
    assert TOKEN in gateway.run("cat /etc/rancher/k3s/config.yaml.d/90-provision.yaml")
    return gateway.run("cat /etc/machine-id").strip()


def use(gateway: Console) -> None:
    """Leave traces on the data partition, as work does: so many that a reset takes its time."""
    files = "i=0; while [ $i -lt 3000 ]; do echo precious > $i; i=$((i + 1)); done"
    gateway.run(f"mkdir -p {VOLUME} && cd {VOLUME} && {files}; sync", 300)


def is_fresh(gateway: Console) -> None:
    assert gateway.attempt(f"ls {VOLUME}")[0] != 0
    assert gateway.attempt("ls /var/lib/edgeimg/reset")[0] != 0
    assert "factory reset: done" in gateway.run("dmesg")


@pytest.mark.parametrize("tries", [3, 0])
@pytest.mark.parametrize("arch", ARCHITECTURES, ids=lambda arch: arch.name)
def test_a_reset_is_started_by_choice_only(
    tiny, toolbox: Callable[[str], Toolbox], arch: Arch, tries: int, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """On each architecture's boot loader, whether the version is new or has used up its tries."""
    monkeypatch.setattr(esp, "TRIES", tries)
    image = tiny.make(arch, {"usr/bin/init": tree.file(INIT, mode=0o755)}, tmp_path)

    def boot(start: Callable[[Console], object]) -> str:
        for _ in range(3):
            work = Path(tempfile.mkdtemp(dir=tmp_path))
            with (
                contextlib.suppress(GuestLostError),
                powered(image.raw, work, toolbox=toolbox("qemu"), arch=arch) as guest,
            ):
                start(guest)
                return guest.wait_for("TINY started with .*\n")
        raise AssertionError("the emulator lost three guests in a row")

    def choose(guest: Console) -> None:
        guest.wait_for("Factory reset", 120, typing=" ")
        guest.type(DOWN)
        guest.wait_for("EFI stub|TINY", typing="\r")

    word = "edgeimg.reset=yes"
    by_itself = boot(lambda guest: None)
    assert f"roothash={image.root_hash}" in by_itself
    assert word not in by_itself
    if tries:
        chosen = boot(choose)
        assert f"roothash={image.root_hash}" in chosen
        assert word in chosen


def test_the_screen_tells_what_the_gateway_is(power: Switch, tmp_path: Path) -> None:
    gateway = power.on()
    gateway.until("systemctl -q is-active k3s.service")
    gateway.until("grep -q 'server, Ready' /dev/vcs1")
    gateway.run('echo "<2>edgeimg: a message of the kernel" > /dev/kmsg')
    told = screen(gateway)
    print(told)
    lines = told.splitlines()
    assert lines[1].split()[0] == "box-7"
    assert "gateway 0.1.0, slot A" in lines[1]
    assert any(line.split()[:1] == ["Network"] and "10.0.2.15/24" in line for line in lines)
    assert "ssh root@10.0.2.15" in told
    # The kernel's messages stay below the picture, and the picture comes without a login.
    (message,) = (number for number, line in enumerate(lines) if "message of the kernel" in line)
    (hint,) = (number for number, line in enumerate(lines) if "Factory reset" in line)
    assert message > hint
    gateway.run("ip link set enp0s2 down || ip link set eth0 down")
    gateway.until("grep -q 'no address yet' /dev/vcs1", 60)
    shot = tmp_path / "screen.png"
    gateway.screenshot(shot)
    # Letters on a black screen: far more than a blank one of that size compresses to.
    assert shot.read_bytes().startswith(b"\x89PNG")
    assert shot.stat().st_size > 4096


def test_reset_by_command_through_power_cuts(power: Switch) -> None:
    gateway = power.on()
    before = identity(gateway)
    use(gateway)
    gateway.forget()
    gateway.type("edgeimg-reset --yes\n")
    gateway.wait_for("erasing all data: edgeimg-reset was run")
    chance = random.Random(os.environ.get("EDGEIMG_TEST_SEED", "7"))
    for cut in range(CUTS):
        # The first is in the midst of it; when a later one comes, it may be done.
        time.sleep(chance.uniform(0, 2))
        done = "\ndone\n" in gateway.said()
        print(f"cut {cut + 1}: {'after' if done else 'in'} the reset")
        gateway = power(lambda console: console.wait_for("the next start goes on|Kubernetes v"))
    gateway.wait_for_shell()
    after = identity(gateway)
    assert after != before
    assert "damaged" not in gateway.run("dmesg")
    gateway.until("test -s /var/lib/edgeimg/machine-id")
    assert gateway.attempt(f"ls {VOLUME} /var/lib/edgeimg/reset")[0] != 0
    gateway.until("systemctl -q is-active k3s.service")
    gateway.until("edgeimg-status | grep 'K3s: server, Ready'")


def test_reset_by_the_boot_menu(power: Switch) -> None:
    gateway = power.on()
    before = identity(gateway)
    use(gateway)
    gateway = power(reset_by_menu)
    is_fresh(gateway)
    assert "damaged" not in gateway.run("dmesg")
    assert identity(gateway) != before


def test_a_ruined_data_partition_is_told_and_made_anew_by_a_reset(
    power: Switch, tmp_path: Path
) -> None:
    gateway = power.on()
    gateway.run(
        "data=$(readlink -f /dev/disk/by-partlabel/data); sync;"
        " dd if=/dev/zero bs=1M count=1 | tr '\\0' x > /run/x;"
        " for part in $(seq 512); do cat /run/x; done > $data; sync"
    )
    gateway = power(lambda console: console.wait_for("THIS GATEWAY CANNOT START"))
    said = gateway.wait_for("flash its disk again", 60)
    assert "Its data partition cannot be used" in said
    assert "choose the factory reset" in said
    gateway.screenshot(tmp_path / "failed.png")
    # Nobody has to be there for it to try again.
    gateway.wait_for("Restarting system|reboot: ", 120)
    gateway = power(reset_by_menu)
    is_fresh(gateway)
    # What still lies on the config partition applies; the token was nowhere else.
    assert gateway.run("hostname").strip() == "box-7"
    assert gateway.attempt(f"grep -r {TOKEN} {SET}")[0] != 0
    gateway.until("systemctl -q is-active k3s.service")


def test_everything_leaves_a_blank_gateway(power: Switch) -> None:
    gateway = power.on()
    before = gateway.run("cat /etc/machine-id")
    gateway.forget()
    gateway.type("edgeimg-reset --everything --yes\n")
    gateway.wait_for("erasing all data: edgeimg-reset was run")
    gateway.wait_for("\ndone\n")
    gateway.wait_for_shell()
    assert gateway.run("hostname").strip() == "gateway"
    assert gateway.run("cat /etc/machine-id") != before
    assert gateway.attempt(f"ls {SET}")[0] != 0
    seen = gateway.run(
        "mkdir /run/c && mount -o ro /dev/disk/by-partlabel/config /run/c && find /run/c"
    )
    assert "README.txt" in seen
    assert "edgeimg" not in seen
