"""Writes of a gateway at rest to its data partition, which wear out flash.

The guest measures a window of a minute or so (overlays/base/usr/lib/edgeimg/report, `rest`); its
answer is kept in the boot's report.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgeimg.smoke.verdict import Check
from edgeimg.text.json_text import JsonObject

NAME = "writes at rest are within budget"
KEY = "rest"
"""Where the measurement is in a boot's report."""
_MIB = 1 << 20
_LEAST_SECONDS = 30.0
_MOST_WRITERS = 3
_HINT = (
    "`write_bytes` in /proc/PID/io counts for every process; raise [budget] writes if it has to be"
)


@dataclass(frozen=True, kw_only=True)
class Writes:
    """One window of rest."""

    seconds: float
    bytes: int
    """Written to the data partition, by the file system's own account too."""
    writers: tuple[tuple[str, int], ...]
    """Programs, and the bytes that each gave to be written; most first."""

    @property
    def hourly(self) -> int:
        """Bytes an hour at this rate."""
        return round(self.bytes * 3600 / self.seconds)

    def summary(self) -> str:
        """Who writes the most: `k3s 29.3 MiB, systemd-journal 4.1 MiB`, an hour."""
        most = self.writers[:_MOST_WRITERS]
        hourly = ((name, count * 3600 / self.seconds / _MIB) for name, count in most)
        return ", ".join(f"{name} {mib:.1f} MiB" for name, mib in hourly)


def measurement(report: JsonObject) -> Writes | None:
    """The measurement in a boot's report; None without a valid one."""
    try:
        fields = report[KEY]
        seconds = float(fields["until"]) - float(fields["since"])
        writers = ((str(name), int(count)) for name, count in dict(fields["writers"]).items())
        writes = Writes(
            seconds=seconds,
            bytes=int(fields["bytes"]),
            writers=tuple(sorted(writers, key=lambda writer: (-writer[1], writer[0]))),
        )
    except (KeyError, TypeError, ValueError):
        return None
    return writes if seconds >= _LEAST_SECONDS and writes.bytes >= 0 else None


def judge(report: JsonObject, budget: int) -> Check:
    """Whether the writes stay within `budget`, in bytes an hour."""
    writes = measurement(report)
    if writes is None:
        return Check(name=NAME, failure="the guest did not measure what it writes")
    if writes.hourly <= budget:
        return Check(name=NAME)
    rate = f"{writes.hourly / _MIB:.1f} MiB an hour, expected at most {budget / _MIB:.1f}"
    return Check(name=NAME, failure=f"{rate}. Most by: {writes.summary() or 'nobody'}. {_HINT}")
