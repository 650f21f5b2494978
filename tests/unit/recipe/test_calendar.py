"""Calendar expressions, judged by systemd itself."""

from __future__ import annotations

import random
import shutil
import subprocess

import pytest
from edgeimg.recipe import calendar

GOOD = (
    "daily", "Hourly", "Sun 03:00", "Mon..Fri 02:30 UTC", "Sat,Sun *-*-* 04:00:30", "*-*-01 00:00",
    "*-12-24", "*:0/15", "*-*~1 05:00", "2027-01-31 12:00", "Mon", "Mon *-*-1..7 03:00",
)  # fmt: skip
BAD = (
    "", " ", "sometimes", "Sun 3am", "Sun  03:00", "Sun..Mon", "Mon..Tue..Wed", "25:00", "03:60",
    "*-13-01", "*-*-32", "*-*~29", "*-*~1/2", "1969-01-01", "*:*/15", "*:50/15", "*:5..1",
    "03:00 Sun", "03:00 Europe/Berlin", "@1700000000", "daily\nOnBootSec=1", "03:00:00:00", "03:0x",
    "*:0/0", "3", "--", "٣:00",
)  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_what_people_write_is_taken(text: str) -> None:
    assert calendar.check(text) == text


@pytest.mark.parametrize("text", BAD)
def test_the_rest_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is (no|not) "):
        calendar.check(text)


def drawn(draw: random.Random) -> str:
    def component(low: int, high: int) -> str:
        first = draw.randint(low, high)
        last, step = draw.randint(first, high), draw.randint(1, high)
        return draw.choice(
            ["*", f"{first:02d}", f"{first}..{last}", f"{first}/{step}", f"{first},{last}"]
        )

    days = draw.choice(["", "Mon ", "tue..Sunday ", "Sat,wednesday "])
    date = draw.choice(["", f"{component(1970, 2199)}-{component(1, 12)}-{component(1, 31)} "])
    last = draw.choice(["", f"{component(1, 12)}~{component(1, 31)} "])
    time = f"{component(0, 23)}:{component(0, 59)}" + draw.choice(["", f":{component(0, 59)}"])
    return f"{days}{date or last}{time}{draw.choice(['', ' UTC'])}"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
def test_systemd_takes_whatever_is_taken_here() -> None:
    draw = random.Random(7)
    expressions = [drawn(draw) for _ in range(400)]
    accepted = list(GOOD)
    for text in expressions:
        try:
            accepted.append(calendar.check(text))
        except ValueError:
            continue
    assert len(accepted) > 100
    result = subprocess.run(
        ["systemd-analyze", "calendar", *accepted], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
