"""Volumes that manifests name and the image cannot mount. volumes.toml says what each needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeimg import builtin
from edgeimg.check.findings import Finding, finding
from edgeimg.compose import kernel as kernels
from edgeimg.compose.kernel import Kernel
from edgeimg.text import typed
from edgeimg.tree import Tree
from edgeimg.workloads.volumes import Volume

_PROGRAMS = ("usr/sbin", "usr/bin")


@dataclass(frozen=True)
class _Need:
    include: str
    """The built-in recipe that brings program and modules."""
    program: str = ""
    modules: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Needs:
    mounts: Mapping[str, _Need]


def check(
    volumes: Mapping[str, Sequence[Volume]], drivers: Sequence[str], root: Tree, kernel: Kernel
) -> list[Finding]:
    """One finding for each workload and volume; `drivers` are the CSI drivers of the workloads."""
    if not any(volumes.values()):
        return []
    needs = typed.data_file(__file__, "volumes", _Needs).mounts
    modules = {
        kernels.name_of(path)
        for path, _ in root.under(kernel.directory)
        if path.endswith((".ko", ".ko.xz", ".ko.zst"))
    } | kernel.builtin
    findings = []
    for workload, kinds in sorted(volumes.items()):
        for volume in kinds:
            problem, fix = "", ""
            need = needs.get(volume.name)
            if volume.type == "csi" and volume.driver not in drivers:
                problem = (
                    f"no workload registers the CSI driver {volume.driver or 'without a name'}"
                )
                fix = "add the driver's manifests (CSIDriver) to a workload"
            elif need is not None:
                missing = _missing(need, root, modules)
                problem = f"the root lacks {', '.join(missing)}" if missing else ""
                fix = f'add "{builtin.PREFIX}{need.include}" to include'
            elif volume.type != "csi":
                problem = "no built-in recipe brings its driver"
                fix = (
                    "use another type, or accept it with a comment when your overlay has the driver"
                )
            if problem:
                findings.append(
                    finding(
                        "volume-type",
                        f"workloads.{workload}.manifests",
                        f"the image cannot mount volumes of type {volume.name}: {problem}",
                        fix,
                        item=volume.name,
                    )
                )
    return findings


def _missing(need: _Need, root: Tree, modules: frozenset[str] | set[str]) -> list[str]:
    missing = [f"the kernel module {name}" for name in need.modules if name not in modules]
    if need.program and not any(f"{place}/{need.program}" in root for place in _PROGRAMS):
        missing.insert(0, f"the program {need.program}")
    return missing
