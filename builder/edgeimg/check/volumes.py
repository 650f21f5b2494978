"""Volumes that manifests name and the image cannot mount. volumes.toml says what each needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass

from edgeimg import builtin
from edgeimg.check.findings import Finding, finding
from edgeimg.compose import kernel_deb
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.text import typed
from edgeimg.tree import Tree
from edgeimg.workloads.volumes import Volume

_PROGRAMS = ("usr/sbin", "usr/bin")
_STATD = "rpc.statd"


@dataclass(frozen=True)
class _Need:
    include: str
    """The built-in recipe that brings program and modules."""
    program: str = ""
    modules: tuple[str, ...] = ()
    advice: str = ""
    """What else some of its volumes need."""


@dataclass(frozen=True)
class _Needs:
    mounts: Mapping[str, _Need]
    moved: Mapping[str, str]


@dataclass(frozen=True)
class _Problem:
    text: str
    fix: str
    part: str = ""
    """Behind the name of the volume, in the name of the finding."""


def check(
    volumes: Mapping[str, Sequence[Volume]], drivers: Sequence[str], root: Tree, kernel: Kernel
) -> list[Finding]:
    """One finding for each workload and volume; `drivers` are the CSI drivers of the workloads."""
    if not any(volumes.values()):
        return []
    needs = typed.data_file(__file__, "volumes", _Needs)
    modules = {
        kernel_deb.name_of(path)
        for path, _ in root.under(kernel.directory)
        if path.endswith((".ko", ".ko.xz", ".ko.zst"))
    } | kernel.builtin
    return [
        finding(
            "volume-type",
            f"workloads.{workload}.manifests",
            f"the image cannot mount volumes of type {volume.name}: {problem.text}",
            problem.fix,
            item=f"{volume.name}{problem.part}",
        )
        for workload, kinds in sorted(volumes.items())
        for volume in kinds
        for problem in _problems(volume, drivers, needs, root, modules)
    ]


def _problems(
    volume: Volume, drivers: Sequence[str], needs: _Needs, root: Tree, modules: Set[str]
) -> Iterator[_Problem]:
    """Each is accepted on its own: a driver from elsewhere does not bring kernel modules."""
    driver = needs.moved.get(volume.type)
    if driver is not None and driver not in drivers:
        yield _Problem(
            f"Kubernetes has no driver of its own for it any more, and no workload registers the "
            f"CSI driver {driver}, which replaces it",
            f"add the manifests of {driver} to a workload, or use another type",
        )
    elif volume.type == "csi" and volume.driver not in drivers:
        yield _Problem(
            f"no workload registers the CSI driver {volume.driver or 'without a name'}",
            "add the driver's manifests (CSIDriver) to a workload",
        )
    need = needs.mounts.get(volume.name)
    if need is not None:
        if missing := _missing(need, root, modules):
            advice = f", {need.advice}" if need.advice else ""
            yield _Problem(
                f"the root lacks {', '.join(missing)}",
                f'add "{builtin.PREFIX}{need.include}" to include{advice}',
                part="/root" if volume.type == "csi" else "",
            )
    elif volume.type != "csi" and driver is None:
        yield _Problem(
            "no built-in recipe brings its driver",
            "use another type, or accept it with a comment when your overlay has the driver",
        )
    if volume.locks and not _has_program(root, _STATD):
        yield _Problem(
            f"locks of NFS version 3 need the program {_STATD}, which the root lacks",
            "use nfsvers=4 in mountOptions, or add nolock when no other machine writes there",
            part="/locks",
        )


def _missing(need: _Need, root: Tree, modules: Set[str]) -> list[str]:
    missing = [f"the kernel module {name}" for name in need.modules if name not in modules]
    if need.program and not _has_program(root, need.program):
        missing.insert(0, f"the program {need.program}")
    return missing


def _has_program(root: Tree, name: str) -> bool:
    return any(f"{place}/{name}" in root for place in _PROGRAMS)
