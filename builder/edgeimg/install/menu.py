"""The attended installation: questions with numbers, on a screen or a serial line."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edgeimg.errors import FlashError, HostError
from edgeimg.fleet.reading import Fleet
from edgeimg.install.disks import Candidate
from edgeimg.install.plan import Plan
from edgeimg.install.rows import Found

Ask = Callable[[str], str]
"""Shows a question and returns the answer, a line."""
Say = Callable[[str], None]
_TRIES = 5


class Menu:
    """Asks for image, disk and gateway."""

    def __init__(self, ask: Ask, say: Say) -> None:
        self._ask, self._say = ask, say

    def image(self, found: Sequence[Path]) -> Path:
        """One of the images; a single one is not asked for."""
        if len(found) == 1:
            return found[0]
        self._say("Images:")
        return found[self._number([path.name for path in found], "Image", {})]

    def disk(self, candidates: Sequence[Candidate]) -> Candidate:
        """The disk to write, as chosen. Raises HostError when every disk is refused."""
        if all(one.reasons for one in candidates):
            lines = [f"{one.title}: {'; '.join(one.reasons)}" for one in candidates]
            raise HostError(
                "\n  ".join(["no disk may be written to:", *(lines or ["there is no disk"])]),
                hint="`edgeimg devices` lists them, too",
            )
        self._say("Disks:")
        titles = [f"{one.title}\n       now: {one.content}" for one in candidates]
        refused = {at: "; ".join(one.reasons) for at, one in enumerate(candidates) if one.reasons}
        return candidates[self._number(titles, "Disk", refused)]

    def row(self, fleet: Fleet, likely: Sequence[Found], places: Mapping[str, str]) -> Found | None:
        """A gateway of the fleet, or none; the one that the machine says is proposed.

        `places` are the other disks that gateways are on already.
        """
        self._say(f"Gateways of {fleet.path.name}:")
        signs = {found.gateway.name: found.signs for found in likely}
        names = [gateway.name for gateway in fleet.gateways]

        def title(name: str) -> str:
            sign = f" (by {', '.join(signs[name])})" if name in signs else ""
            place = f"\n       now: on {places[name]}" if name in places else ""
            return f"{name}{sign}{place}"

        titles = [title(name) for name in names]
        default = names.index(likely[0].gateway.name) if len(likely) == 1 else None
        if default is not None and names[default] in places:
            default = None  # of two machines with the same number, only a person knows
        at = self._number([*titles, "none: provision it later"], "Gateway", {}, default)
        if at == len(titles):
            return None
        gateway = fleet.gateways[at]
        return Found(gateway=gateway, signs=signs.get(gateway.name, ()))

    def confirm(self, plan: Plan) -> None:
        """Show what will be lost. Raises FlashError unless the name of the disk is typed."""
        name = plan.disk.device.path.removeprefix("/dev/")
        self._say("\n".join(plan.lines()))
        if self._ask(f"To write, type the name of the disk ({name})").strip() != name:
            raise FlashError("nothing was written: the answer was not the name of the disk")

    def _number(
        self, titles: Sequence[str], what: str, refused: dict[int, str], default: int | None = None
    ) -> int:
        for at, title in enumerate(titles):
            why = f"\n       no: {refused[at]}" if at in refused else ""
            self._say(f"  {at + 1:>2}  {title}{why}")
        question = f"{what} (1-{len(titles)}{'' if default is None else f', Enter: {default + 1}'})"
        for _ in range(_TRIES):
            answer = self._ask(question).strip()
            if not answer and default is not None:
                return default
            if not answer.isdecimal() or not 1 <= int(answer) <= len(titles):
                self._say(f"expected a number from 1 to {len(titles)}")
            elif (at := int(answer) - 1) in refused:
                self._say(f"not that one: {refused[at]}")
            else:
                return at
        raise FlashError(f"nothing was written: no {what.lower()} was chosen")
