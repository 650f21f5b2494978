"""What GitLab shows of findings: its own fields, each filled, and told apart by fingerprint."""

from __future__ import annotations

import json

from edgeimg.check import codequality, sarif
from edgeimg.check.findings import Finding, finding

FOUND = {
    "arm64": [finding("setuid", "usr/bin/of a friend", "may become root", "chmod u-s")],
    "arm": [
        finding("setuid", "usr/bin/of a friend", "may become root", "chmod u-s"),
        Finding("size", "warning", "budget.root", "nearly full"),
    ],
}


def test_every_finding_is_an_entry_that_gitlab_reads() -> None:
    entries = json.loads(codequality.document(sarif.document(FOUND)))
    assert [entry["description"].partition(":")[0] for entry in entries] == ["arm64", "arm", "arm"]
    assert len({entry["fingerprint"] for entry in entries}) == 3
    for entry in entries:
        assert set(entry) == {"description", "check_name", "fingerprint", "severity", "location"}
        assert entry["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert entry["location"]["lines"]["begin"] >= 1
        assert not entry["location"]["path"].startswith(("/", "./"))
    assert entries[0]["location"]["path"] == "usr/bin/of a friend"
    assert entries[0]["check_name"] == "setuid"
    assert [entry["severity"] for entry in entries] == ["critical", "critical", "minor"]


def test_nothing_found_is_an_empty_list() -> None:
    assert json.loads(codequality.document(sarif.document({"arm": []}))) == []
