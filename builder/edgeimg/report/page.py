"""ReportFacts → one HTML file: no network, no framework, readable without its script.

The page forbids itself everything but its own style and script (Content-Security-Policy with
their digests), so that even text that were not escaped could neither run nor call anybody.
"""

from __future__ import annotations

import base64
import hashlib

from markupsafe import Markup

from edgeimg.report import inventory
from edgeimg.report.facts import ReportFacts
from edgeimg.report.growth import grown
from edgeimg.report.memory import charts
from edgeimg.report.rendering import asset, environment
from edgeimg.report.sizes import GROUPS, sizes
from edgeimg.report.timeline import boot_chart
from edgeimg.report.verdict import verdict


def page(facts: ReportFacts) -> str:
    """The report of a release as an HTML document (UTF-8 when it is written).

    Equal facts give equal text. Every string of the facts is escaped, whatever it holds.
    """
    images = tuple(facts.images)
    content = [sizes(image) for image in images]
    style, script = asset("style.css"), asset("script.js")
    values: dict[str, object] = {
        "facts": facts,
        "verdict": verdict(facts),
        "boot": boot_chart(images),
        "memory": charts(images),
        "sizes": content,
        "groups": GROUPS,
        "trees": {size.arch: size.tree for size in content},
        "growth": [change for image in images if (change := grown(image))],
        "compared": any(image.previous is not None for image in images),
        "findings": inventory.findings(images),
        "components": inventory.components(images),
        "style": Markup(style),
        "script": Markup(script),
        "script_digest": _digest(script),
    }
    return environment().get_template("page.html").render(values)


def _digest(text: str) -> str:
    """As Content-Security-Policy names a script (CSP level 3, `sha256-…`)."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
