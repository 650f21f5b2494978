"""From facts to figures: boots, memory, sizes, growth, and how they are written."""

from __future__ import annotations

from typing import Any

import pytest
from edgeimg.check.findings import Finding
from edgeimg.report import Component
from edgeimg.report.boots import timelines
from edgeimg.report.growth import grown
from edgeimg.report.inventory import components, findings
from edgeimg.report.memory import charts
from edgeimg.report.sizes import sizes
from edgeimg.report.text import clean, duration, growth, human, percent, short, ticked, ticks
from edgeimg.report.timeline import boot_chart

from tests.release_facts import MIB, boot, image, manifest, smoke


def test_a_boot_is_told_from_power_on() -> None:
    first, second = timelines(image())
    # The least of what the host's clock was ahead: events are read late, never early.
    assert first.phases[0].end == pytest.approx(8.1)
    assert [phase.key for phase in first.phases] == [
        "firmware", "kernel", "userland", "containerd", "k3s", "node", "pod", "http",
    ]  # fmt: skip
    assert first.phases[1].end == pytest.approx(13.1)
    assert first.end == pytest.approx(98.1)
    assert first.complete
    assert (first.name, second.name) == ("First boot", "Restart")
    assert first.samples[0] == (pytest.approx(8.1 + 15), 60)


def test_phases_follow_each_other_without_gaps() -> None:
    for boot_ in timelines(image()):
        ends = [phase.end for phase in boot_.phases]
        assert [phase.start for phase in boot_.phases] == [0.0, *ends[:-1]]
        assert ends == sorted(ends)


def test_a_clock_that_runs_backwards_gives_no_negative_phase() -> None:
    odd = boot()
    odd["stages"][3]["uptime"] = 1.0
    odd["stages"][0]["elapsed"] = 0.0
    (line,) = timelines(image(smoke=smoke("x86-64", boots=[odd])))
    assert all(phase.seconds >= 0 for phase in line.phases)


def test_a_boot_that_stopped_ends_where_it_stopped() -> None:
    (line,) = timelines(image(smoke=smoke("x86-64", boots=[boot(reached=3)])))
    assert not line.complete
    assert line.phases[-1].key == "k3s"
    assert line.reached("pod") is None
    # Without a report nothing is known of when the kernel handed over.
    assert "kernel" not in [phase.key for phase in line.phases]


def test_a_report_of_an_older_edgeimg_has_no_samples() -> None:
    old = boot()
    del old["samples"]
    (chart,) = charts((image(smoke=smoke("x86-64", boots=[old])),))
    assert chart.lines == ()
    assert chart.rows == (("First boot", "256", "258", "198", "14"),)


def test_bars_share_one_axis() -> None:
    chart = boot_chart([image(), image("arm64", manifest=manifest("arm64"))])
    assert [bar.arch for bar in chart.bars] == ["x86-64", "x86-64", "arm64", "arm64"]
    longest = chart.bars[1].segments[-1]
    assert longest.start + longest.width == pytest.approx(100, abs=0.01)
    for bar in chart.bars:
        assert sum(segment.width for segment in bar.segments) <= 100.01
    assert chart.bars[1].segments[0].label == "Shutdown, firmware"
    assert chart.ticks[0] == (0.0, "0")


def test_memory_is_drawn_against_what_the_machine_has() -> None:
    (chart,) = charts((image(),))
    assert chart.limit.label == "512 MiB"
    assert chart.usable is not None
    assert chart.limit.y < chart.usable.y < min(y.y for y in chart.ys)
    line = chart.lines[0]
    assert len(line.points.split()) == 10
    assert line.peak == "240 MiB"
    assert [mark.label.partition(" after")[0] for mark in line.marks] == [
        "containerd",
        "K3s API ready",
        "Pod Running",
    ]


def test_a_boot_without_report_has_the_peak_of_its_samples() -> None:
    (chart,) = charts((image(smoke=smoke("x86-64", boots=[boot(reached=2)])),))
    assert chart.rows == (("First boot", "—", "240", "—", "—"),)


def test_the_root_is_told_largest_first() -> None:
    found = sizes(image())
    assert [row.name for row in found.rows] == ["k3s", "kernel", "systemd", "busybox", "base"]
    assert found.rows[2].note == "257.1-1"
    assert found.rows[0].share == pytest.approx(80.2, abs=0.1)
    tree: Any = found.tree
    assert tree["size"] == sum(group["size"] for group in tree["children"])
    assert found.packed == "100.0 MiB"


def test_a_component_of_unknown_kind_has_a_place() -> None:
    base = manifest("x86-64", components={"etc": 5, "strange:thing": 7}, files={})
    found = sizes(image(manifest=base))
    (group,) = found.tree["children"]
    assert group["name"] == "Made by edgeimg"
    assert [part["name"] for part in group["children"]] == ["thing", "etc"]


def test_growth_names_what_grew_most_first() -> None:
    old = manifest("x86-64", version="1.1.0", kernel="6.12.0")
    old["components"] = {**old["components"], "k3s": 140 * MIB, "package:gone": MIB}
    old["components"].pop("package:busybox")
    old["packages"] = old["packages"][:1]
    old["k3s"] = {**old["k3s"], "version": "v1.34.4+k3s1"}
    old["sizes"] = {"root": 101 * MIB, "uki": 16 * MIB, "initrd": 4 * MIB}
    found = grown(image(previous=old))
    assert found is not None
    assert found.old == "1.1.0"
    assert [(step.name, step.change, step.after) for step in found.components] == [
        ("k3s", "+10.0 MiB", "150.0 MiB"),
        ("busybox", "+1.0 MiB", "1.0 MiB"),
        ("gone", "−1.0 MiB", "gone"),
    ]
    assert [step.share for step in found.components] == [100, 10, 10]
    assert [(step.name, step.change) for step in found.parts] == [("Root, compressed", "−1.0 MiB")]
    assert found.total == "+10.0 MiB"
    assert ("kernel", "6.12.0", "6.12.1") in found.versions
    assert ("K3s", "v1.34.4+k3s1", "v1.35.0+k3s1") in found.versions
    assert ("busybox", "", "1:1.37") in found.versions


def test_nothing_to_compare_with_is_not_growth() -> None:
    assert grown(image()) is None
    same = grown(image(previous=manifest("x86-64")))
    assert same is not None
    assert (same.components, same.parts, same.total) == ((), (), "±0")


def test_findings_of_several_images_are_one_with_errors_first() -> None:
    warning, error = Finding("a", "warning", "x", "m"), Finding("b", "error", "y", "n")
    images = [
        image(findings=[warning, error]),
        image("arm", manifest=manifest("arm"), findings=[warning]),
    ]
    found = findings(images)
    assert [entry.finding for entry in found] == [error, warning]
    assert [entry.archs for entry in found] == [("x86-64",), ("x86-64", "arm")]


def test_components_that_differ_are_told_apart() -> None:
    def with_version(arch: str, version: str) -> Component:
        return Component(name="n", version=version, kind="package", purl=f"pkg:deb/n?arch={arch}")

    images = [
        image(components=[with_version("amd64", "1")]),
        image("arm64", manifest=manifest("arm64"), components=[with_version("arm64", "1")]),
        image("arm", manifest=manifest("arm"), components=[with_version("armhf", "2")]),
    ]
    found = [(entry.component.purl, entry.archs) for entry in components(images)]
    assert found == [("pkg:deb/n", ("x86-64", "arm64")), ("pkg:deb/n?arch=armhf", ("arm",))]


@pytest.mark.parametrize(
    ("seconds", "long", "brief"),
    [
        (0.26, "0.3 s", "0.3 s"),
        (9.96, "10 s", "10 s"),
        (99.4, "99 s", "99 s"),
        (99.6, "1 min 40 s", "1:40"),
        (3725, "62 min 05 s", "62:05"),
    ],
)
def test_durations(seconds: float, long: str, brief: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == long
    assert short(seconds).replace("\u00a0", " ") == brief


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (700 * 1024, "700 KiB"),
        (1020 * 1024, "1.0 MiB"),
        (100 << 20, "100.0 MiB"),
    ],
)
def test_sizes(size: int, text: str) -> None:
    assert human(size) == text


def test_signs() -> None:
    assert [growth(size) for size in (2048, -2048, 0)] == ["+2.0 KiB", "−2.0 KiB", "±0"]


def test_axes_have_few_round_ticks() -> None:
    assert ticks(0) == (0,)
    assert ticks(58) == (0, 10, 20, 30, 40, 50)
    for seconds in (1, 7, 99, 642, 5000, 90000):
        found = ticks(seconds)
        assert 2 <= len(found) <= 7
        assert found[-1] <= seconds


def test_a_share_of_nothing_is_nothing() -> None:
    assert percent(5, 0) == 0
    assert percent(5, 2) == 100


def test_characters_without_a_place_in_html() -> None:
    assert clean("a\tb\n✓ü\x1b[0m\u202e\ud800") == "a\tb\n✓ü\ufffd[0m\ufffd\ufffd"


def test_backticks_are_code_and_all_is_escaped() -> None:
    assert ticked("use `a<b` & go") == "use <code>a&lt;b</code> &amp; go"
    assert ticked("odd ` one <") == "odd ` one &lt;"
