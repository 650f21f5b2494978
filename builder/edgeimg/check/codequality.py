"""Findings as GitLab's code quality report: the one its free tier shows in merge requests.

GitLab documentation, "Code Quality report format"; a subset of Code Climate's.
"""

from __future__ import annotations

import json
from urllib.parse import unquote

from edgeimg.text.json_text import JsonObject

_SEVERITIES = {"error": "critical", "warning": "minor"}


def document(sarif: bytes) -> bytes:
    """The report of the findings in a SARIF log that `edgeimg.check.sarif` wrote."""
    runs = json.loads(sarif)["runs"]
    entries = [_entry(result) for run in runs for result in run["results"]]
    return (json.dumps(entries, indent=2, ensure_ascii=False) + "\n").encode()


def _entry(result: JsonObject) -> dict[str, object]:
    place = result["locations"][0]["physicalLocation"]
    return {
        "description": result["message"]["text"],
        "check_name": result["ruleId"],
        "fingerprint": result["partialFingerprints"]["edgeimg/v1"],
        "severity": _SEVERITIES[result["level"]],
        "location": {
            "path": unquote(place["artifactLocation"]["uri"]),
            "lines": {"begin": place.get("region", {}).get("startLine", 1)},
        },
    }
