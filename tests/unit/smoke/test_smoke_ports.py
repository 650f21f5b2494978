"""Open ports of a guest that was booted before: judged by the recipe as it is now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from edgeimg.cache.store import sha256_file
from edgeimg.smoke import smoke
from edgeimg.smoke.report import SmokeReport
from edgeimg.smoke.smoke import Expected
from edgeimg.smoke.verdict import STAGES


def report(directory: Path) -> Path:
    """An image and the report.json of a guest that passed with it, SSH open on the second boot."""
    image = directory / "x.raw.zst"
    image.write_bytes(b"image")
    facts: dict[str, Any] = {
        "machine_id_sha256": "a", "image_version": "1", "containerd": "active", "k3s": "active",
        "failed_units": [], "kubelet_version": "v1", "k3s_image": {"version": "v1"},
        "node": {"uid": "n", "ready": "True", "current": True},
        "pod": {"uid": "p", "phase": "Running"}, "http": "hello",
        "memory_kib": {"available": 99999}, "listening": ["tcp6 [::]:6443"],
    }  # fmt: skip
    stages = [{"name": name, "uptime": 1.0, "elapsed": 1.0} for name in STAGES]
    boots = [
        {"stages": stages, "samples": [], "problem": "", "report": {**facts, "boot_id": number}}
        for number in (1, 2)
    ]
    boots[1]["report"] = {**facts, "boot_id": 2, "listening": ["tcp6 [::]:6443", "tcp 0.0.0.0:22"]}
    told = {
        "arch": "x86-64", "image": image.name, "image_sha256": sha256_file(image), "accel": "tcg",
        "accel_reason": "", "memory_mib": 512, "cpus": 2, "seconds": 1.0, "boots": boots,
        "checks": [], "directory": "",
    }  # fmt: skip
    (directory / "report.json").write_text(json.dumps(told))
    return image


def earlier(directory: Path, *ports: str) -> SmokeReport | None:
    return smoke.read_earlier(directory, report(directory), 512, Expected(ports=ports))


def test_expected_ports_pass(tmp_path: Path) -> None:
    found = earlier(tmp_path, "6443/tcp", "22/tcp")
    assert found is not None
    assert found.findings == ()
    assert "only expected ports are open" in [check.name for check in found.checks]


def test_an_unexpected_port_fails_the_guest(tmp_path: Path) -> None:
    assert earlier(tmp_path, "6443/tcp") is None


def test_without_a_list_any_port_passes(tmp_path: Path) -> None:
    found = smoke.read_earlier(tmp_path, report(tmp_path), 512, Expected())
    assert found is not None
    assert found.findings == ()


def test_writes_at_rest_are_judged_when_there_is_a_budget(tmp_path: Path) -> None:
    image = report(tmp_path)
    assert smoke.read_earlier(tmp_path, image, 512, Expected(writes=1 << 20)) is None, (
        "it was not measured"
    )
    told = json.loads((tmp_path / "report.json").read_text())
    told["boots"][1]["report"]["rest"] = {
        "since": 0.0, "until": 60.0, "bytes": 4096, "writers": {"k3s": 4096},
    }  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(told))
    assert smoke.read_earlier(tmp_path, image, 512, Expected(writes=60 * 4096 - 1)) is None
    found = smoke.read_earlier(tmp_path, image, 512, Expected(writes=60 * 4096))
    assert found is not None
    assert "writes at rest are within budget" in [check.name for check in found.checks]
