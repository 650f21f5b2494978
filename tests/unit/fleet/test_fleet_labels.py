"""Labels: everything is on them, in their size, and a phone reads the code."""

from __future__ import annotations

import io
import shutil
import subprocess
from pathlib import Path

import pytest
from edgeimg.errors import HostError
from edgeimg.fleet import label, printing
from edgeimg.fleet.label import Facts, Label
from PIL import Image

LONG = "a-very-long-name-of-a-gateway-in-building-seventeen-third-floor"
FULL = Facts(
    name="hall-7-a", mac="52:54:00:77:00:01", serial="GW2026-00017", disk_serial="S4EVNX0R1",
    image="gateway 1.4.2 arm64",
)  # fmt: skip
CROWDED = Facts(
    name=LONG, mac="52:54:00:77:00:01", serial="GW2026-00017-" + "X" * 30, disk_serial="Y" * 40,
    image="gateway 1.4.2-rc.12 arm64",
)  # fmt: skip
WIDEST = Facts(name="w" * 63, serial="W" * 64)
needs_zbar = pytest.mark.skipif(
    not shutil.which("zbarimg"), reason="needs zbarimg: apt install zbar-tools"
)
needs_poppler = pytest.mark.skipif(
    not shutil.which("pdftoppm"), reason="needs pdftoppm: apt install poppler-utils"
)


def planned(facts: Facts, size: tuple[float, float] = label.SIZE, **more: str) -> Label:
    return label.plan(facts, *size, dpi=printing.DPI, width=printing.width, **more)


def scanned(path: Path) -> str:
    return subprocess.run(
        ["zbarimg", "--quiet", "--raw", path], capture_output=True, text=True, check=True
    ).stdout.rstrip("\n")


@needs_zbar
@pytest.mark.parametrize("facts", [FULL, CROWDED, WIDEST, Facts(name="b")])
def test_a_code_is_read_by_another_program(tmp_path: Path, facts: Facts) -> None:
    (tmp_path / "label.png").write_bytes(printing.png(planned(facts)))
    assert scanned(tmp_path / "label.png").split("\n") == [facts.name, *facts.lines()]


@needs_zbar
def test_a_url_is_filled_in(tmp_path: Path) -> None:
    made = planned(FULL, url="https://gw.example/box?n={name}&m={mac}")
    (tmp_path / "label.png").write_bytes(printing.png(made))
    assert scanned(tmp_path / "label.png") == (
        "https://gw.example/box?n=hall-7-a&m=52%3A54%3A00%3A77%3A00%3A01"
    )


@pytest.mark.parametrize("facts", [FULL, CROWDED, WIDEST, Facts(name="b")])
@pytest.mark.parametrize("size", [(62.0, 29.0), (100.0, 62.0), (70.0, 37.0)])
def test_everything_fits_and_nothing_overlaps(facts: Facts, size: tuple[float, float]) -> None:
    made = planned(facts, size)
    code = len(made.modules) * made.module
    assert min(made.left, made.top) >= 0
    assert made.top + code <= made.height
    assert made.module >= 0.25
    below = 0.0
    for line in made.texts:
        assert line.x >= made.left + code + 4 * made.module - 0.01
        assert line.x + printing.width(line.text, line.height) <= made.width
        assert line.y >= below - 0.01
        below = line.y + line.height
    assert below <= made.height
    told = "".join(line.text for line in made.texts)
    assert told == facts.name + "".join(facts.lines())


def test_a_png_has_the_dots_of_its_printer() -> None:
    image = Image.open(io.BytesIO(printing.png(planned(FULL))))
    assert image.size == (732, 343)  # 62x29 mm at 300 dpi
    assert [round(dpi) for dpi in image.info["dpi"]] == [300, 300]
    assert {value for _, value in image.convert("L").getcolors()} == {0, 255}
    # A frame of a millimetre is white: printers do not reach the edge.
    inner = image.convert("L").crop((12, 12, 720, 331))
    assert image.convert("L").histogram()[0] == inner.histogram()[0] > 1000


@needs_zbar
@needs_poppler
def test_a_pdf_has_a_page_of_its_size_for_each(tmp_path: Path) -> None:
    path = tmp_path / "labels.pdf"
    path.write_bytes(printing.pdf([planned(one) for one in (FULL, CROWDED)]))
    told = subprocess.run(["pdfinfo", path], capture_output=True, text=True, check=True).stdout
    facts = dict(line.split(":", 1) for line in told.splitlines() if ":" in line)
    assert facts["Pages"].strip() == "2"
    wide, high = (float(word) for word in facts["Page size"].split()[0:3:2])
    assert abs(wide / 72 * 25.4 - 62) < 0.1
    assert abs(high / 72 * 25.4 - 29) < 0.1
    subprocess.run(["pdftoppm", "-r", "300", "-png", path, tmp_path / "page"], check=True)
    names = [scanned(page).split("\n")[0] for page in sorted(tmp_path.glob("page-*.png"))]
    assert names == [FULL.name, CROWDED.name]
    assert [one.name for one in tmp_path.glob(".*")] == []


def test_a_label_that_nobody_could_read_is_refused() -> None:
    with pytest.raises(HostError, match="too small for the QR code of hall-7-a") as refused:
        planned(FULL, (30.0, 12.0))
    # The size that the hint names is enough.
    wide, high = (refused.value.hint or "").split()[3].split("x")
    assert planned(FULL, (float(wide), float(high)))
    crowded = Facts(name="b", serial="W" * 200, mac="52:54:00:77:00:01")
    with pytest.raises(HostError, match="does not fit there legibly"):
        planned(crowded, (40.0, 20.0), url="x")


@pytest.mark.parametrize("text", ["62x29", "62X29", "62×29mm", "62.0x29.0"])
def test_sizes(text: str) -> None:
    assert label.size(text) == (62.0, 29.0)


@pytest.mark.parametrize("text", ["", "62", "0x0", "62x", "9999x29", "62x29in", "1x1"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="such as 62x29"):
        label.size(text)
