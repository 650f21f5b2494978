"""Packages that ask for the consent to a licence: its terms say who may pass an image on."""

from __future__ import annotations

from collections.abc import Iterable

from edgeimg.check.findings import Finding, finding
from edgeimg.sources.deb import Deb

_FIX = "read usr/share/doc/{name}/copyright in the package; accept the finding or leave it out"


def check(packages: Iterable[Deb]) -> list[Finding]:
    """One finding for each package with such a question; `packages` are those of the image."""
    questions = {deb.name: deb.licence_question for deb in packages if deb.licence_question}
    return [
        finding(
            "licence-terms",
            "packages",
            f"the licence of {name} has to be accepted, and may forbid to pass it on: {question}",
            _FIX.format(name=name),
            item=name,
        )
        for name, question in sorted(questions.items())
    ]
