"""What passes for a working guest."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from edgeimg.smoke.verdict import AGENT_STAGES, STAGES, Boot, Check, Stage, compare, judge

GOOD: dict[str, Any] = {
    "event": "report",
    "boot_id": "one",
    "machine_id_sha256": "m",
    "image_version": "0.1.0",
    "failed_units": [],
    "failed_logs": [],
    "containerd": "active",
    "k3s": "active",
    "k3s_image": {"version": "v1.35.0+k3s1", "standin": False},
    "kubelet_version": "v1.35.0+k3s1",
    "node": {"name": "gateway", "uid": "n", "ready": "True", "current": True},
    "pod": {"uid": "p", "phase": "Running", "ip": "10.42.0.2"},
    "http": "edgeimg hello",
    "memory_kib": {"total": 480000, "available": 190000, "used": 290000},
}
ALL = tuple(Stage(name=name, uptime=1.0, elapsed=2.0) for name in STAGES)


def failures(checks: tuple[Check, ...]) -> list[str]:
    return [check.name for check in checks if check.failure]


def changed(path: str, value: Any) -> dict[str, Any]:
    report = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    place = report
    for parent in parents:
        place = place[parent]
    place[last] = value
    return report


def test_a_good_boot_passes_every_check() -> None:
    checks = judge(Boot(stages=ALL, report=GOOD))
    assert failures(checks) == []
    assert len(checks) == 10


@pytest.mark.parametrize(
    ("path", "value", "name"),
    [
        ("failed_units", ["x.service"], "no failed unit"),
        ("failed_units", None, "no failed unit"),
        ("containerd", "failed", "containerd runs"),
        ("k3s", "activating", "K3s runs"),
        ("kubelet_version", "v1.34.4+k3s1", "K3s is the image's version"),
        ("kubelet_version", "", "K3s is the image's version"),
        ("k3s_image", None, "K3s is the image's version"),
        ("node.ready", "Unknown", "node is Ready"),
        ("node.current", False, "node's state is of this boot"),
        ("pod.phase", "Pending", "pod is Running"),
        ("pod", {}, "pod is Running"),
        ("http", "", "pod answers on its address"),
        ("memory_kib.available", 20000, "memory is enough"),
        ("memory_kib", {}, "memory is enough"),
    ],
)
def test_one_wrong_fact_fails_its_check(path: str, value: Any, name: str) -> None:
    assert name in failures(judge(Boot(stages=ALL, report=changed(path, value))))


PROOFS = GOOD | {"dns": "10.43.0.1", "volume": "one"}


def test_components_are_judged_where_the_guest_has_them() -> None:
    names = {check.name for check in judge(Boot(stages=ALL, report=PROOFS))}
    new = names - {check.name for check in judge(Boot(stages=ALL, report=GOOD))}
    assert len(new) == 2
    for proof in ("dns", "volume"):
        (failure,) = failures(judge(Boot(stages=ALL, report=PROOFS | {proof: ""})))
        assert failure in new


def test_a_volume_has_the_same_data_after_the_restart() -> None:
    again = PROOFS | {"boot_id": "two"}
    assert failures(compare(PROOFS, again)) == []
    assert failures(compare(PROOFS, again | {"volume": "other"})) == [
        "same data in the volume after the restart"
    ]
    assert failures(compare(PROOFS, {**GOOD, "boot_id": "two"})) != []


def service(**facts: Any) -> dict[str, Any]:
    usual = {"name": "ssh", "state": "active", "health": "ok", "at_boot": True}
    return GOOD | {"services": [usual | facts]}


@pytest.mark.parametrize(
    ("facts", "failure"),
    [
        ({}, ""),
        ({"health": "-"}, ""),
        ({"state": "inactive", "at_boot": False}, ""),
        ({"state": "inactive"}, "it is inactive"),
        ({"state": "failed", "at_boot": False}, "it is failed"),
        ({"state": "activating"}, "it is activating"),
        ({"health": "failing"}, "it does not answer its health check"),
    ],
)
def test_services_must_run_and_be_well(facts: dict[str, Any], failure: str) -> None:
    found = [
        c for c in judge(Boot(stages=ALL, report=service(**facts))) if c.name == "service ssh runs"
    ]
    assert [check.failure for check in found] == [failure]


def test_a_failure_says_what_was_found() -> None:
    report = changed("failed_units", ["a.service"]) | {"failed_logs": ["a.service: boom"]}
    (check,) = [c for c in judge(Boot(stages=ALL, report=report)) if c.failure]
    assert "a.service" in check.failure
    assert "boom" in check.failure


def test_a_boot_without_report_fails_once_and_says_where_it_stopped() -> None:
    checks = judge(Boot(stages=ALL[:2], problem="no 'k3s' after 900 s"))
    assert [c.failure for c in checks] == ["no 'k3s' after 900 s"]
    assert judge(Boot(stages=ALL[:2]))[0].failure == "never reached 'k3s'"


def test_the_build_metadata_of_kubernetes_may_differ() -> None:
    report = changed("k3s_image", {"version": "v1.36.3+standin"}) | {"kubelet_version": "v1.36.3"}
    assert failures(judge(Boot(stages=ALL, report=report))) == []


def test_the_same_state_after_a_restart() -> None:
    assert failures(compare(GOOD, changed("boot_id", "two"))) == []


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("machine_id_sha256", "same machine ID after the restart"),
        ("node.uid", "same node after the restart"),
        ("pod.uid", "same pod after the restart"),
        ("image_version", "same image version after the restart"),
    ],
)
@pytest.mark.parametrize("value", ["other", ""])
def test_lost_state_is_found(path: str, name: str, value: str) -> None:
    assert name in failures(compare(GOOD, changed(path, value)))


def test_a_guest_that_never_restarted_is_found() -> None:
    assert failures(compare(GOOD, GOOD)) == ["it did restart"]


def test_nothing_compares_equal_to_nothing() -> None:
    empty = changed("pod", {})
    assert "same pod after the restart" in failures(compare(empty, empty))


AGENT = {
    **GOOD, "role": "agent", "k3s": "activating", "kubelet_version": "", "http": "",
    "node": {"name": "", "uid": "", "ready": "", "current": False}, "pod": {"uid": ""},
}  # fmt: skip


@pytest.mark.parametrize("state", ["activating", "waiting"])
def test_an_agent_is_well_while_it_waits_for_its_server(state: str) -> None:
    boot = Boot(stages=ALL[: len(AGENT_STAGES)], report={**AGENT, "k3s": state})
    assert failures(judge(boot)) == []
    assert failures(compare(AGENT, {**AGENT, "boot_id": "two"})) == []


def test_an_agent_that_does_not_even_try_is_not() -> None:
    boot = Boot(stages=ALL[: len(AGENT_STAGES)], report={**AGENT, "k3s": "failed"})
    assert failures(judge(boot)) == ["K3s runs or waits for its server"]
    early = Boot(stages=ALL[:1], report=AGENT)
    assert failures(judge(early)) == ["all stages reached"]
