"""Old lock and new lock: rows that an update keeps, and rows that it changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeimg.lock.model import Lock, Package

KERNEL = "kernel"
"""The group that holds the kernel package alone."""


def kept(
    resolved: Mapping[str, tuple[Package, ...]],
    locked: Mapping[str, tuple[Package, ...]],
    update: Sequence[str] | None,
) -> dict[str, tuple[Package, ...]]:
    """`resolved`, with locked versions in place of new ones that `update` does not select.

    Packages of one source package are kept or renewed together: they depend on one another in
    exactly their own version. A package of another suite than the locked one is renewed.
    """
    if update is not None and not update:
        return dict(resolved)
    result = {}
    for group, packages in resolved.items():
        old = {package.name: package for package in locked.get(group, ())}
        if group == KERNEL and {p.source for p in packages} == {p.source for p in old.values()}:
            # The version is part of a kernel package's name.
            old = {packages[0].name: next(iter(old.values()))} if len(old) == 1 else {}
        requested = {p.source for p in (*packages, *old.values()) if p.name in (update or ())}
        new = {p.source for p in packages if p.name not in old or old[p.name].suite != p.suite}
        renewed = requested | new
        result[group] = tuple(sorted(p if p.source in renewed else old[p.name] for p in packages))
    return result


def changes(old: Lock | None, new: Lock) -> list[str]:
    """The changes of `new`, one line each, for people."""
    before, after = _inventory(old), _inventory(new)
    lines = []
    for key in sorted(before.keys() | after.keys()):
        was, now = before.get(key), after.get(key)
        if was is None or now is None or was != now:
            lines.append(f"{key}: {was or 'new'} → {now or 'removed'}")
    return lines


def _inventory(lock: Lock | None) -> dict[str, str]:
    if lock is None:
        return {}
    rows: dict[str, str] = {}
    if lock.builtin:
        rows |= {name: digest[:12] for name, digest in lock.builtin.parts.items()}
    for name, image in lock.images.items():
        for group, packages in image.groups.items():
            rows |= {f"{name} {group} {p.name}": _identity(p) for p in packages}
        rows |= {f"{name} image {key}": pin.digest[:19] for key, pin in image.images.items()}
        if image.kernel:
            rows[f"{name} kernel"] = f"{image.kernel.path} {image.kernel.sha256[:12]}"
        if image.k3s:
            rows[f"{name} k3s"] = f"{image.k3s.version} {image.k3s.sha256[:12]}"
    for group, hosts in lock.tools.items():
        for host, packages in hosts.items():
            rows |= {f"{host} tools {group} {p.name}": _identity(p) for p in packages}
    return rows


def _identity(package: Package) -> str:
    return f"{package.version} ({package.sha256[:8]})"
