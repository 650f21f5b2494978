"""A small made release, for tests of the report."""

from __future__ import annotations

import json
from typing import Any

from edgeimg.check.findings import Finding
from edgeimg.image.manifest import Manifest
from edgeimg.report import Component, ImageFacts, ReportFacts
from edgeimg.smoke.report import SmokeReport
from edgeimg.smoke.verdict import STAGES

MIB = 1 << 20
HOSTILE = (
    "</script><script>document.title='owned'</script>"
    "<img src=x onerror=\"document.title='x'\">'&\x00\u202e"
)
"""As a file, a package or a guest might call itself."""


def boot(*, end: float = 90.0, before: float = 8.0, reached: int = 6) -> dict[str, Any]:
    """A boot whose stages are evenly spread until `end` seconds of the guest's clock."""
    stages = [
        {"name": name, "uptime": end * place / 6, "elapsed": end * place / 6 + before + place / 10}
        for place, name in enumerate(STAGES, 1)
    ][:reached]
    whole = reached == len(STAGES)
    report = {
        "node": {"name": "gateway", "ready": "True", "current": True},
        "pod": {"name": "edgeimg-hello", "phase": "Running"},
        "http": "edgeimg hello",
        "memory_kib": {
            "total": 467048,
            "available": 203224,
            "used": 256 * 1024,
            "peak": 258 * 1024,
            "swap_used": 14424,
        },
        "boot_us": {"Userspace": 5_000_000},
        "rest": {"since": 90.0, "until": 150.0, "bytes": MIB, "writers": {"k3s": MIB}},
    }
    return {
        "stages": stages,
        "samples": [[end / 6 + 5 * step, 60 + 20 * step] for step in range(10)],
        "report": report if whole else {},
        "problem": "" if whole else "no 'node' after 900 s\n  the console's tail",
    }


def smoke(arch: str, **changes: Any) -> dict[str, Any]:
    """What `SmokeReport.to_json` would give."""
    return {
        "arch": arch,
        "image": f"gateway_1.2.0_{arch}.raw.zst",
        "image_sha256": "0" * 64,
        "directory": "",
        "seconds": 200.0,
        "accel": "tcg",
        "accel_reason": "a test",
        "memory_mib": 512,
        "cpus": 2,
        "boots": [boot(), boot(end=120, before=20)],
        "checks": [{"name": "boot 1: pod is Running", "failure": ""}],
        **changes,
    }


def manifest(arch: str, version: str = "1.2.0", **changes: Any) -> dict[str, Any]:
    """A `.manifest.json`: K3s, kernel modules, two packages, an overlay."""
    files = {
        "usr/lib/k3s/current/bin/k3s": [150 * MIB, "k3s", "a" * 64],
        "usr/lib/modules/6.12/kernel/net/wifi.ko": [20 * MIB, "kernel", "b" * 64],
        "usr/lib/modules/6.12/kernel/fs/erofs.ko": [10 * MIB, "kernel", "c" * 64],
        "usr/lib/systemd/systemd": [5 * MIB, "package:systemd", "d" * 64],
        "usr/bin/systemctl": [1 * MIB, "package:systemd", "e" * 64],
        "usr/bin/busybox": [1 * MIB, "package:busybox", "f" * 64],
        "etc/motd": [20, "overlay:base", "0" * 64],
    }
    components: dict[str, int] = {}
    for size, origin, _ in files.values():
        components[str(origin)] = components.get(str(origin), 0) + int(str(size))
    return {
        "schema": "edgeimg-manifest-1",
        "image": {"id": "gateway", "version": version, "arch": arch, "epoch": 1767225600},
        "kernel": "6.12.1",
        "k3s": {"version": "v1.35.0+k3s1", "source": "release", "sha256": "0", "standin": False},
        "packages": [
            {"name": "systemd", "version": "257.1-1", "arch": "amd64"},
            {"name": "busybox", "version": "1:1.37", "arch": "amd64"},
        ],
        "components": components,
        "sizes": {"root": 100 * MIB, "uki": 16 * MIB, "initrd": 4 * MIB},
        "root_hash": "0" * 64,
        "disk": {"uuid": "u", "size": 1, "partitions": []},
        "kernel_config": {"EROFS_FS": "m"},
        "files": files,
        **changes,
    }


def image(arch: str = "x86-64", **changes: Any) -> ImageFacts:
    """One image that booted, within its budget, without findings."""
    values: dict[str, Any] = {
        "manifest": manifest(arch),
        "sizes": {"root": 100 * MIB, "download": 90 * MIB, "initrd": 4 * MIB},
        "budget": {"root": 256 * MIB, "download": 120 * MIB},
        "smoke": smoke(arch),
        "components": [
            Component(
                name="systemd",
                version="257.1-1",
                kind="package",
                licence="LGPL-2.1-or-later",
                purl=f"pkg:deb/debian/systemd@257.1-1?arch={arch}&distro=debian-13",
            ),
            Component(name="k8s.io/api", version="v0.35.0", kind="go module", licence="Apache-2.0"),
        ],
        **changes,
    }
    for name in ("manifest", "previous"):
        if values.get(name) is not None:
            values[name] = Manifest.from_json(json.dumps(values[name]).encode())
    if values["smoke"] is not None:
        values["smoke"] = SmokeReport.from_json(values["smoke"])
    return ImageFacts(**values)


def release(*images: ImageFacts, **changes: Any) -> ReportFacts:
    """A release of the images, else of three that are alike."""
    chosen = images or tuple(image(arch) for arch in ("x86-64", "arm64", "arm"))
    return ReportFacts(version="1.2.0", images=chosen, **changes)


def hostile() -> ReportFacts:
    """Everything that is text says `HOSTILE`."""
    base = manifest("x86-64")
    path, component = f"usr/bin/{HOSTILE}".replace("</", "<"), f"package:{HOSTILE}"
    base["files"][path] = [MIB, component, "1" * 64]
    base["components"][component] = MIB
    base["packages"].append({"name": HOSTILE, "version": HOSTILE, "arch": "all"})
    base["kernel"] = HOSTILE
    base["k3s"] = {"version": HOSTILE, "source": "file", "sha256": "0", "standin": True}
    base["image"]["id"] = HOSTILE
    before = manifest("x86-64", version=HOSTILE)
    first = boot(reached=3)
    first["problem"] = HOSTILE
    second = boot()
    second["report"]["node"]["name"] = second["report"]["http"] = HOSTILE
    guest = smoke(
        "x86-64",
        boots=[second, first],
        accel=HOSTILE,
        checks=[{"name": HOSTILE, "failure": HOSTILE}],
    )
    return ReportFacts(
        version=HOSTILE,
        overrides=[HOSTILE],
        images=[
            image(
                manifest=base,
                smoke=guest,
                previous=before,
                findings=[Finding(HOSTILE, "error", HOSTILE, f"`{HOSTILE}`", HOSTILE)],
                components=[
                    Component(
                        name=HOSTILE, version=HOSTILE, kind=HOSTILE, licence=HOSTILE, purl=HOSTILE
                    )
                ],
            )
        ],
    )
