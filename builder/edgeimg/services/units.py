"""The systemd units of a service: they start, limit, restart and probe it."""

from __future__ import annotations

from edgeimg.recipe.services import Service
from edgeimg.services.layout import STARTED, STATE, unit

CRUN = "/usr/bin/crun --root=/run/edgeimg/containers"


def units(name: str, service: Service) -> dict[str, str]:
    """The unit files of one service, by file name."""
    files = {unit(name): _service(name, service)}
    if service.health is not None:
        files[f"container-{name}-health.service"] = _check(name, service)
        files[f"container-{name}-health.timer"] = _timer(name, service.health.interval)
    return files


def _service(name: str, service: Service) -> str:
    after = " ".join(_unit(dependency) for dependency in (*service.requires, *service.after))
    requires = " ".join(_unit(dependency) for dependency in service.requires)
    lines = [
        "[Unit]",
        f"Description={service.description or name} (container)",
        f"RequiresMountsFor={STATE}",
        *_conditions(name, service),
        *([f"After={after}"] if after else []),
        *([f"Requires={requires}"] if requires else []),
        *([f"Wants=container-{name}-health.timer"] if service.health else []),
        "StartLimitIntervalSec=0",
        "",
        "[Service]",
        "Type=exec",
        f"ExecStartPre=-{CRUN} delete --force {name}",
        # The container stays in the unit's control group: limits and `systemctl status` see it.
        f"ExecStart=/usr/lib/edgeimg/start {name}",
        f"ExecStopPost=-{CRUN} delete --force {name}",
        f"ExecStopPost=-/usr/lib/edgeimg/explain {name}",
        f"Restart={service.restart}",
        "RestartSec=1",
        f"TimeoutStopSec={service.stop}",
        f"SyslogIdentifier={name}",
        f"MemoryMax={service.memory}",
        f"TasksMax={service.processes + 4}",  # crun, and what waits for the container
        *([f"CPUQuota={service.cpu}%"] if service.cpu else []),
        "DevicePolicy=closed",
        "DeviceAllow=char-pts rw",
        *(f"DeviceAllow={path} rw" for path in service.devices),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def _conditions(name: str, service: Service) -> tuple[str, str]:
    """On by the recipe or a technician's choice; or started by hand, until the next restart."""
    lasting = f"!{STATE}/{name}.disabled" if service.enabled else f"{STATE}/{name}.enabled"
    return f"ConditionPathExists=|{lasting}", f"ConditionPathExists=|{STARTED}/{name}"


def _check(name: str, service: Service) -> str:
    # A probe is not logged, which would wear out flash. A failed probe is.
    assert service.health is not None
    command = " ".join(_quote(word) for word in service.health.command)
    return f"""\
[Unit]
Description=Is {name} well?
Requisite={unit(name)}
After={unit(name)}
StartLimitIntervalSec=0

[Service]
Type=oneshot
TimeoutStartSec={service.health.timeout + 30}
LogLevelMax=notice
SyslogLevel=warning
ExecStart=/usr/lib/edgeimg/health {name} {service.health.retries} {service.health.timeout} {command}
"""


def _timer(name: str, interval: int) -> str:
    return f"""\
[Unit]
Description=Probe {name} every {interval} s
PartOf={unit(name)}

[Timer]
OnActiveSec={interval}
OnUnitInactiveSec={interval}
AccuracySec=1s
"""


def _unit(name: str) -> str:
    """The unit of another service, or of systemd, which has a suffix."""
    return name if "." in name else unit(name)


def _quote(word: str) -> str:
    """A word of a unit's command line (systemd.syntax(7), systemd.service(5))."""
    escaped = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + escaped.replace("%", "%%").replace("$", "$$") + '"'
