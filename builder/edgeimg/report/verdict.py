"""Did it come up, in how much memory, and does it fit? One card per image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeimg.check.findings import errors
from edgeimg.report.boots import MIB, PHASES, timelines
from edgeimg.report.facts import ImageFacts, ReportFacts
from edgeimg.report.text import duration, human, percent
from edgeimg.smoke import wear
from edgeimg.smoke.report import SmokeReport
from edgeimg.smoke.verdict import Check
from edgeimg.text.json_text import JsonObject

OVERRIDES = {
    "standin": "The K3s inside is the project's stand-in, a Kubernetes for tests and "
    "demonstrations. It is not K3s.",
    "unsigned-index": "Packages were locked from an index that did not match its signature. Their "
    "contents were checked against the lock.",
    "dirty-overlay": "The overlay held changes that are not in version control.",
    "unsigned-boot": "Boot files are not signed with the key of the project's certificate. Secure "
    "Boot does not start them.",
    "budget": "An image exceeds its size budget.",
    "checks": "The checks found errors in an image.",
    "boot": "An image did not pass its boot test.",
}
"""The meaning of an overridden gate (recipe.Gate)."""
_PARTS = {"download": "Download", "root": "Root", "uki": "Kernel (UKI)", "initrd": "Initrd"}


@dataclass(frozen=True, kw_only=True)
class Meter:
    """An amount and its limit."""

    label: str
    value: str
    limit: str
    share: float
    """Percent."""
    over: bool


@dataclass(frozen=True, kw_only=True)
class Card:
    """The verdict on one image."""

    arch: str
    state: str
    """`passed`, `failed` or `untested`."""
    k3s: str
    """Its version; empty without K3s."""
    standin: bool
    facts: tuple[tuple[str, str], ...]
    meters: tuple[Meter, ...]
    checks: tuple[Check, ...]
    """In the order they were made."""
    failures: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The verdict on the release."""

    state: str
    headline: str
    cards: tuple[Card, ...]
    overrides: tuple[tuple[str, str], ...]


def verdict(facts: ReportFacts) -> Verdict:
    """The page's first answer."""
    cards = tuple(_card(image) for image in facts.images)
    state = "passed"
    if any(card.state == "failed" for card in cards):
        state = "failed"
    elif any(card.state == "untested" for card in cards) or not cards:
        state = "untested"
    return Verdict(
        state=state,
        headline=_headline(cards),
        cards=cards,
        overrides=tuple((name, OVERRIDES.get(name, "")) for name in facts.overrides),
    )


def _headline(cards: Sequence[Card]) -> str:
    archs = [card.arch for card in cards if card.state == "passed" and card.k3s]
    plain = [card.arch for card in cards if card.state == "passed" and not card.k3s]
    failed = [card.arch for card in cards if card.state == "failed"]
    untested = [card.arch for card in cards if card.state == "untested"]
    kubernetes = "Kubernetes" if any(card.standin for card in cards) else "K3s"
    parts = []
    if archs:
        verb = "boots, runs" if len(archs) == 1 else "boot, run"
        again = "answers" if len(archs) == 1 else "answer"
        parts.append(f"{_list(archs)} {verb} {kubernetes} and {again} from a pod")
    if plain:
        verb = "boots and runs its" if len(plain) == 1 else "boot and run their"
        parts.append(f"{_list(plain)} {verb} services")
    if failed:
        parts.append(f"{_list(failed)} did not pass the boot test")
    if untested:
        parts.append(f"{_list(untested)} {'was' if len(untested) == 1 else 'were'} not booted")
    return "; ".join(parts) + "." if parts else "There is no image in this release."


def _list(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _card(image: ImageFacts) -> Card:
    smoke, k3s = image.smoke, image.manifest.contents.k3s
    return Card(
        arch=image.arch,
        state="untested" if smoke is None else "failed" if smoke.failures else "passed",
        k3s=k3s.version if k3s else "",
        standin=image.manifest.contents.standin,
        facts=tuple(_facts(image)),
        meters=(*_memory(smoke), *_writes(image), *_sizes(image)),
        checks=smoke.checks if smoke else (),
        failures=smoke.failures if smoke else (),
    )


def _facts(image: ImageFacts) -> list[tuple[str, str]]:
    rows = [("Kernel", image.manifest.contents.kernel)]
    report = _last_report(image.smoke)
    if report and image.manifest.contents.k3s:
        node, pod = report.get("node") or {}, report.get("pod") or {}
        ready = "Ready" if node.get("ready") == "True" and node.get("current") else "not Ready"
        answer = f", answers “{report['http']}”" if report.get("http") else ", does not answer"
        rows.append(("Node", f"{node.get('name') or '—'}, {ready}"))
        rows.append(("Pod", f"{pod.get('name') or '—'}, {pod.get('phase') or 'not there'}{answer}"))
    for boot in timelines(image):
        has_k3s = image.manifest.contents.k3s is not None
        end = boot.reached("http" if has_k3s else "settled")
        last = PHASES[boot.phases[-1].key] if boot.phases else "nothing"
        what = "pod answers" if has_k3s else "services run"
        answer_time = f"{what} after {duration(end)}" if end is not None else f"got to: {last}"
        rows.append((boot.name, answer_time))
    rows.append(("Checks", _findings(image)))
    if image.smoke:
        accel = image.smoke.accel
        how = {"tcg": "emulated (QEMU TCG)", "kvm": "QEMU with KVM"}.get(accel, accel)
        cpus, memory = image.smoke.cpus, image.smoke.memory_mib
        many = "" if cpus == 1 else "s"
        rows.append(("Booted on", f"{how}, {cpus}\u00a0CPU{many}, {memory}\u00a0MiB"))
    return rows


def _findings(image: ImageFacts) -> str:
    error_count = len(errors(image.findings))
    warnings = len(image.findings) - error_count
    counts = ((error_count, "error"), (warnings, "warning"))
    texts = [f"{count} {name}{'s' if count > 1 else ''}" for count, name in counts if count]
    return ", ".join(texts) or "no findings"


def _last_report(smoke: SmokeReport | None) -> JsonObject:
    boots = smoke.boots if smoke else ()
    return next((boot.report for boot in reversed(boots) if boot.report), {})


def _memory(smoke: SmokeReport | None) -> list[Meter]:
    memories = [boot.report.get("memory_kib") or {} for boot in (smoke.boots if smoke else ())]
    peak = max((memory.get("peak", 0) for memory in memories), default=0) / MIB
    if smoke is None or not peak:
        return []
    limit = smoke.memory_mib
    return [
        Meter(
            label="Memory, peak",
            value=f"{peak:.0f} MiB",
            limit=f"{limit} MiB",
            share=percent(peak, limit),
            over=peak > limit,
        )
    ]


def _writes(image: ImageFacts) -> list[Meter]:
    writes, limit = wear.measurement(_last_report(image.smoke)), image.budget.get("writes", 0)
    if writes is None:
        return []
    return [
        Meter(
            label="Written at rest",
            value=f"{human(writes.hourly)} an hour",
            limit=human(limit).replace(".0 ", " ") if limit else "",
            share=percent(writes.hourly, limit),
            over=0 < limit < writes.hourly,
        )
    ]


def _sizes(image: ImageFacts) -> list[Meter]:
    meters = []
    for key, label in _PARTS.items():
        size, limit = image.sizes.get(key), image.budget.get(key)
        if size is not None and limit:
            meters.append(
                Meter(
                    label=label,
                    value=human(size),
                    limit=human(limit).replace(".0 ", " "),
                    share=percent(size, limit),
                    over=size > limit,
                )
            )
        elif size is not None:
            meters.append(Meter(label=label, value=human(size), limit="", share=0, over=False))
    return meters
