"""A gateway of the tests: the real agent, edgeimg-update and trial, with stand-ins below them.

systemd-sysupdate, bless-boot, systemctl and journalctl are scripts that do what a test wants.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from tests.updater import environment

OVERLAYS = Path(__file__).resolve().parent.parent / "overlays"
AGENT = OVERLAYS / "rollout/usr/lib/edgeimg/rollout"
UPDATES = OVERLAYS / "updates/usr"

SYSUPDATE = """#!/bin/sh
for verb; do case $verb in check-new | list | update) break ;; esac; done
[ ! -e fail ] || [ $verb = list ] || { cat fail >&2; exit 1; }
case $verb in
    list)
        newest=$(ls boot/EFI/Linux | sed 's/^gw_//; s/+.*//; s/[.]efi$//' | sort -V | tail -n 1)
        printf '{"current":"%s","all":["9.0.0","1.2.0","1.1.0","1.0.0","0.9.0"]}\\n' "$newest" ;;
    check-new) echo '{"available":null}' ;;
    update)
        for version; do :; done
        echo "$*" >> installed
        touch "boot/EFI/Linux/gw_$version+3-0.efi" ;;
esac
"""
SYSTEMCTL = """#!/bin/sh
case $1 in
    is-active) cat k3s ;;
    reboot) echo reboot >> reboots ;;
esac
"""
JOURNALCTL = """#!/bin/sh
case $1 in
    --list-boots) cat boots ;;
    --boot) printf 'kernel: panic <0>\\nk3s: %0600d\\nlast line of %s\\n' 7 "$2" ;;
esac
"""


@dataclass
class Device:
    """A gateway that runs version 1.0.0; `directory` has its files."""

    directory: Path
    name: str = "gw1"
    version: str = "1.0.0"
    boot: int = 0
    extra: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.directory.mkdir(exist_ok=True)
        scripts = {
            "sysupdate": SYSUPDATE, "systemctl": SYSTEMCTL, "journalctl": JOURNALCTL,
            "bless": '#!/bin/sh\n[ "$1" != status ] || cat blessed\n',
            "flock": "#!/bin/sh\nexit 0\n", "hostname": f"#!/bin/sh\necho {self.name}\n",
            "edgeimg-update": f'#!/bin/sh\nexec sh {UPDATES}/bin/edgeimg-update "$@"\n',
        }  # fmt: skip
        for name, text in scripts.items():
            (self.directory / name).write_text(text)
            (self.directory / name).chmod(0o755)
        for name, text in {"k3s": "active\n", "uptime": "100.0 1\n", "boots": "",
                           "machine-id": "0123abcd\n"}.items():  # fmt: skip
            (self.directory / name).write_text(text)
        (self.directory / "boot/EFI/Linux").mkdir(parents=True, exist_ok=True)
        (self.directory / "boot/EFI/Linux/gw_1.0.0.efi").touch()
        (self.directory / "transfers").mkdir(exist_ok=True)
        (self.directory / "transfers/10-root.transfer").write_text(
            "[Source]\nPath=https://updates.example.org/gw\n"
        )
        self.start("1.0.0")

    def provision(self, server: str, token: str, tenant: str = "DEFAULT", **more: str) -> None:
        """Write what provisioning writes."""
        values = {"SERVER": server, "TENANT": tenant, "ID": self.name, "TOKEN": token, **more}
        text = "".join(f"{key}={value}\n" for key, value in values.items())
        (self.directory / "run/rollout.env").write_text(text)

    def start(self, version: str, blessed: str = "good") -> None:
        """Start a version; what was in memory is gone."""
        self.boot += 1
        self.version = version
        run = self.directory / "run"
        kept = (run / "rollout.env").read_text() if (run / "rollout.env").exists() else None
        for path in sorted(run.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
        run.mkdir(exist_ok=True)
        if kept is not None:
            (run / "rollout.env").write_text(kept)
        boot_id = f"{self.boot:08}-1111-1111-1111-111111111111"
        (self.directory / "boot_id").write_text(f"{boot_id}\n")
        with (self.directory / "boots").open("a") as boots:
            boots.write(f"{-self.boot} {boot_id.replace('-', '')} Sun\n")
        (self.directory / "os-release").write_text(f"IMAGE_ID=gw\nIMAGE_VERSION={version}\n")
        (self.directory / "blessed").write_text(f"{blessed}\n")
        self.run(UPDATES / "lib/edgeimg/trial", "begin")

    def image(self, name: str) -> None:
        """Run an image of another name."""
        path = self.directory / "os-release"
        path.write_text(f"IMAGE_ID={name}\nIMAGE_VERSION={self.version}\n")

    def bless(self) -> None:
        """The version has shown that it works."""
        (self.directory / "blessed").write_text("good\n")
        self.run(UPDATES / "lib/edgeimg/trial", "good")

    def fail_to_start(self, version: str) -> None:
        """A start of `version` whose journal ends before anything reports it."""
        self.boot += 1
        with (self.directory / "boots").open("a") as boots:
            boots.write(f"-1 {'f' * 32} Sun\n")
        self.give_up(version)

    def give_up(self, version: str) -> None:
        """The boot loader has tried it three times."""
        for entry in self.entries():
            if entry.startswith(f"gw_{version}+"):
                path = self.directory / "boot/EFI/Linux" / entry
                path.rename(path.with_name(f"gw_{version}+0-3.efi"))

    def entries(self) -> list[str]:
        return sorted(path.name for path in (self.directory / "boot/EFI/Linux").iterdir())

    def poll(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """One turn of the agent."""
        return self.run(AGENT, *(arguments or ("now",)))

    def run(self, program: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        here = self.directory
        variables = environment(
            here,
            JOURNALCTL=here / "journalctl",
            INDEX_TRANSFERS=here / "none",
            ROLLOUT_STATE=here / "rollout",
            ROLLOUT_SETTINGS=here / "rollout.conf",
            SYS=here / "sys",
            K3S=here / "k3s-etc",
            RANCHER=here / "rancher",
            MACHINE_ID=here / "machine-id",
        )
        variables |= self.extra
        return subprocess.run(
            ["dash", program, *arguments],
            env=variables, cwd=here, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def reboots(self) -> int:
        """How often it was restarted by its programs."""
        path = self.directory / "reboots"
        return len(path.read_text().splitlines()) if path.exists() else 0

    def state(self, name: str = "rollout/order") -> dict[str, str]:
        path = self.directory / name
        if not path.exists():
            return {}
        return dict(line.split("=", 1) for line in path.read_text().splitlines())

    def problem(self) -> str:
        path = self.directory / "run/rollout.problem"
        return path.read_text() if path.exists() else ""


def dumped(value: object) -> bytes:
    return json.dumps(value).encode()
