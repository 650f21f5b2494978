"""Results as tables, for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edgeimg.build.result import Built
from edgeimg.build.stages import CheckReport
from edgeimg.cli.table import new_table
from edgeimg.cve.cve import Judged
from edgeimg.inspect.diff import Diff
from edgeimg.inspect.image import Inspection
from edgeimg.release.releases import Released
from edgeimg.smoke import wear
from edgeimg.smoke.report import SmokeReport
from edgeimg.smoke.verdict import Boot
from edgeimg.ui import human

LARGEST = 12
MOST_CHANGES = 40
ROWS = 1000
"""Of a table that others may have filled."""


def images(console: Console, built: Sequence[Built]) -> None:
    """One row per image: sizes against budget; then, where it is."""
    table = new_table("Image", "Download", "Root", "Initrd")
    for image in built:
        budget = image.plan.recipe.budget
        table.add_row(
            Text(image.name, no_wrap=True),
            _against(image.sizes["download"], budget.download),
            _against(image.sizes["root"], budget.root),
            _against(image.sizes["initrd"], budget.initrd),
        )
    console.print(table)
    for image in built:
        origin = "from the shared cache" if image.shared else "built"
        state = "unchanged" if image.unchanged else origin
        console.print(Text(f"{state}: {image.download}, K3s {image.k3s}"), soft_wrap=True)


def checks(console: Console, reports: Sequence[CheckReport]) -> None:
    """The findings and the largest components of each image."""
    for report in reports:
        count = len(report.findings)
        title = f"{report.arch}: {count} finding{'s' * (count > 1)}"
        table = new_table("Severity", "Rule", "Where", "What", title=title)
        for finding in report.findings:
            style = "red" if finding.severity == "error" else "yellow"
            severity = Text(finding.severity, style=style)
            rule = Text(finding.rule or finding.check, no_wrap=True)
            place, message = Text(finding.place, overflow="fold"), Text(finding.message)
            table.add_row(severity, rule, place, message)
        if report.findings:
            console.print(table)
        else:
            console.print(Text(f"✓ {report.arch}: no findings", style="green"))
        sizes = new_table(
            "Component", "Bytes in the root", title=f"{report.arch}: largest components"
        )
        ranked = sorted(report.components.items(), key=lambda item: -item[1])
        for name, size in ranked[:LARGEST]:
            sizes.add_row(name, human(size))
        console.print(sizes)


def vulnerabilities(console: Console, judged: Sequence[Judged]) -> None:
    """The known vulnerabilities of each image."""
    for report in judged:
        table = new_table("Vulnerability", "In", "Version", "Fixed in", title=report.title)
        for vulnerability in report.vulnerabilities[:ROWS]:
            style = "yellow" if vulnerability.minor else "red"
            table.add_row(
                Text(vulnerability.id, style=style, no_wrap=True),
                Text(vulnerability.subject.name, overflow="fold"),
                Text(vulnerability.subject.version, overflow="fold"),
                Text(vulnerability.fixed or "–", overflow="fold"),
            )
        if report.vulnerabilities:
            console.print(table)
        if len(report.vulnerabilities) > ROWS:
            more = len(report.vulnerabilities) - ROWS
            console.print(f"and {more} more: --json lists all of them")
        summary = f"{len(report.vulnerabilities)} known vulnerabilities"
        if report.ignored:
            summary += f", {len(report.ignored)} ignored"
        summary += f"; {report.compared} source packages and modules compared"
        if report.unknown:
            summary += f", {report.unknown} without a version"
        for kernel in report.kernels:
            summary += f"; not looked up: {kernel}, a vendor's kernel, whose vendor knows its flaws"
        mark, style = ("✗", "red") if report.vulnerabilities else ("✓", "green")
        console.print(Text(f"{mark} {report.title}: {summary}", style=style))


def inspection(console: Console, inspection: Inspection) -> None:
    """The contents of an image."""
    contents = inspection.contents
    facts = new_table("", "", title=inspection.path.name)
    facts.show_header = False
    k3s = "none"
    if contents.k3s:
        k3s = f"{contents.k3s.version} ({contents.k3s.source})"
    rows = {
        "image": f"{contents.id} {contents.version} for {contents.arch}",
        "based on": inspection.os_release.get("PRETTY_NAME", "?"),
        "kernel": contents.kernel,
        "K3s": f"{k3s}: the stand-in, NOT K3s" if contents.standin else k3s,
        "root hash": f"{inspection.root_hash}\nevery block of the root was verified against it",
        "boot entry": inspection.boot_entry,
        "packages": str(len(contents.packages)),
        "file": human(inspection.size),
    }
    for name, value in rows.items():
        facts.add_row(name, Text(value, overflow="fold"))
    console.print(facts)
    disk = new_table("Partition", "Size", "UUID", title=human(inspection.disk.size))
    for part in inspection.disk.partitions:
        uuid = Text(part.uuid, no_wrap=True)
        disk.add_row(part.label, f"{part.size >> 20} MiB", uuid)
    console.print(disk)
    services = new_table("Service", "Made of", "Digest")
    for service in sorted(contents.services or ()):
        origin = Text(f"{service.kind}: {service.source}", overflow="fold")
        services.add_row(service.name, origin, (service.image or service.digest)[:19])
    if contents.services:
        console.print(services)
    packages = new_table("Package", "Version", "Architecture")
    for package in sorted(contents.packages):
        packages.add_row(package.name, package.version, package.arch)
    console.print(packages)


def smoke(console: Console, reports: Sequence[SmokeReport]) -> None:
    """The results of each guest for both boots."""
    for report in reports:
        console.print(_guest(report))
        console.print(Text(f"logs: {report.directory}", style="dim"), soft_wrap=True)
        for failure in report.failures:
            console.print(Text(f"✗ {report.arch}: {failure}", style="red"), soft_wrap=True)
        verdict = "failed" if report.failures else "passed"
        style = "bold red" if report.failures else "bold green"
        console.print(Text(f"{report.arch}: {verdict}", style=style))


def release(console: Console, released: Released) -> None:
    """The release, and the gates that were overridden."""
    for hold in released.overrides:
        console.print(Text(f"! allowed by name ({hold.gate}): {hold.reason}", style="yellow"))
    state = "released" if released.key else "had been released already, from the same inputs"
    line = Text(f"{released.version} {state}: {released.directory}", style="bold green")
    console.print(line, soft_wrap=True)
    if released.key:
        console.print(f"signed with {released.key}", highlight=False, soft_wrap=True)
    for arch in released.shared:
        console.print(f"from the shared cache: the image of {arch}", highlight=False)
    report = released.directory / "evidence/report.html"
    console.print(f"for people: {report}", highlight=False, soft_wrap=True)


def diff(console: Console, difference: Diff) -> None:
    """Additions, removals and changes: one table for each section, the largest growth first."""
    if not difference.sections:
        console.print(Text("✓ no differences", style="green"))
    for section, changes in difference.sections.items():
        title = f"{section.replace('_', ' ')}: {len(changes)} change{'s' * (len(changes) > 1)}"
        table = new_table("", difference.old, difference.new, "", title=title)
        ranked = sorted(changes, key=lambda change: (-abs(change.growth), change.name))
        for change in ranked[:MOST_CHANGES]:
            growth = f"{change.growth:+,}" if change.growth else ""
            table.add_row(Text(change.name), _value(change.before), _value(change.after), growth)
        if len(ranked) > MOST_CHANGES:
            table.caption = f"and {len(ranked) - MOST_CHANGES} more: --json lists all"
        console.print(table)


def _value(value: str | int | None) -> Text:
    return Text("—" if value is None else f"{value:,}" if isinstance(value, int) else value)


def _guest(report: SmokeReport) -> Table:
    title = f"{report.arch}, {report.memory_mib} MiB, {report.accel.upper()}"
    headers = [f"boot {number}" for number, _ in enumerate(report.boots, 1)]
    table = new_table("", *headers, title=title)
    rows: dict[str, list[str]] = {}
    for number, boot in enumerate(report.boots):
        for name, value in _facts(report, boot).items():
            rows.setdefault(name, [""] * len(report.boots))[number] = value
    for name, values in rows.items():
        table.add_row(name, *values)
    return table


def _facts(report: SmokeReport, boot: Boot) -> dict[str, str]:
    guest = boot.report
    node, pod = guest.get("node") or {}, guest.get("pod") or {}
    memory = guest.get("memory_kib") or {}
    kubernetes = {
        "node": f"{node.get('name', '?')} {'Ready' if node.get('ready') == 'True' else '—'}",
        "pod": f"{pod.get('name', '?')} {pod.get('phase', '—')}",
        "pod answers": f"{guest.get('http') or '—'} at {pod.get('ip', '?')}",
    }
    facts = {
        "K3s": report.k3s_version,
        **(kubernetes if report.k3s_version != "none" else {}),
        "memory used": _mib(memory.get("used")),
        "memory peak": _mib(memory.get("peak")),
        "memory available": _mib(memory.get("available")),
        "swapped to zram": _mib(memory.get("swap_used")),
        "services": ", ".join(map(_service, guest.get("services") or [])) or "none",
        "failed units": ", ".join(guest.get("failed_units") or []) or "none",
    }
    if writes := wear.measurement(guest):
        facts["writes at rest"] = f"{human(writes.hourly)} an hour"
    if not guest and not boot.problem:  # a board that is watched on its console
        return {f"{stage.name} after": f"{stage.elapsed:.0f} s" for stage in boot.stages}
    for stage in boot.stages:
        facts[f"{stage.name} after"] = f"{stage.uptime:.0f} s"
    return facts if guest else {"problem": "see below"}


def _service(facts: dict[str, object]) -> str:
    """The name of a service, with its state if that is unusual."""
    state, health = facts.get("state", "?"), facts.get("health", "-")
    odd = health if health == "failing" else state if state != "active" else ""
    return f"{facts.get('name', '?')} ({odd})" if odd else str(facts.get("name", "?"))


def _mib(kib: int | None) -> str:
    return "?" if kib is None else f"{kib / 1024:.0f} MiB"


def _against(size: int, limit: int | None) -> str:
    """`103.4 of 120 MiB`."""
    return human(size) if limit is None else f"{size / 2**20:.1f} of {limit / 2**20:.0f} MiB"
