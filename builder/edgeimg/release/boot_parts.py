"""Secure Boot of a release: its key, its signed parts, and what holds them back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from edgeimg.build import debian_packages
from edgeimg.build.options import ReleaseOptions
from edgeimg.build.plan import BuildPlan
from edgeimg.cache.store import Store
from edgeimg.errors import RecipeError
from edgeimg.recipe.file import RecipeFile
from edgeimg.release import boot_check, boot_signing, gates
from edgeimg.release.assemble import Part
from edgeimg.release.gates import Hold
from edgeimg.tools import Toolbox
from edgeimg.trust import secure_boot
from edgeimg.trust.secure_boot import BootSigner
from edgeimg.ui import Ui
from edgeimg.vm import disk


def signer(source: RecipeFile, options: ReleaseOptions) -> BootSigner | None:
    """The key of `--secure-boot-key`. Raises RecipeError when the recipe has no certificates."""
    if options.boot_keys is None:
        return None
    public = boot_signing.public_keys(source)
    if public is None:
        raise RecipeError(
            f"{source.path} names no certificates for the key in {options.boot_keys}",
            hint='name them: [trust] secure_boot = "keys/secure-boot"',
        )
    return secure_boot.signer(options.boot_keys, public)


def fingerprint(source: RecipeFile, plan: BuildPlan) -> str:
    """Of the certificate that an image's boot files have to be signed by; empty for none."""
    public = boot_signing.public_keys(source)
    if public is None or not boot_signing.required(plan):
        return ""
    return secure_boot.certificate(public).fingerprint


@contextmanager
def signed(
    parts: Sequence[Part], key: BootSigner | None, *, store: Store, ui: Ui
) -> Iterator[list[Part]]:
    """The parts with signed boot files.

    Signed images of a release that is held back are removed: firmware would start them. What their
    boots reported stays.
    """
    if key is None:
        yield list(parts)
        return
    signed = []
    try:
        for part in parts:
            if not boot_signing.required(part.plan):
                ui.note(f"{part.plan.arch.name}: no firmware has Secure Boot: boot files are not "
                        "signed")  # fmt: skip
                signed.append(part)
                continue
            with ui.step(f"{part.plan.arch.name}: sign its boot files"):
                toolbox = pack_tools(part.plan, store, ui)
                built = boot_signing.sign(part.built, key, store=store, toolbox=toolbox, ui=ui)
            signed.append(replace(part, built=built, raw=disk.raw_image(built.download, store)))
        yield signed
    except BaseException:
        for part in parts:
            for path in boot_signing.signed_plan(part.plan).directory.glob("*"):
                if path.is_file():
                    path.unlink()
        raise


def holds(source: RecipeFile, parts: Sequence[Part], store: Store, ui: Ui) -> list[Hold]:
    """The images whose boot files Secure Boot would refuse."""
    found: list[Hold] = []
    public = boot_signing.public_keys(source)
    for part in parts:
        if public is None or not boot_signing.required(part.plan):
            continue
        with ui.step(f"{part.plan.arch.name}: check the signatures of its boot files"):
            problems = boot_check.problems(
                part.raw,
                part.built.manifest,
                boot_check.expected(part.plan.arch, part.built.manifest, part.plan.enrolment,
                                    source.recipe.trust.enroll),
                boot_check.trusted(public),
                store=store, toolbox=pack_tools(part.plan, store, ui),
            )  # fmt: skip
        found += gates.of_boot_files(part.plan.arch.name, problems)
    return found


def with_signatures(part: Part, source: RecipeFile, directory: Path, store: Store, ui: Ui) -> Part:
    """A part with the signatures of the release in `directory`, where it has some."""
    public = boot_signing.public_keys(source)
    if public is None or not boot_signing.required(part.plan):
        return part
    built = boot_signing.attach(
        part.built, directory, secure_boot.certificate(public),
        store=store, toolbox=pack_tools(part.plan, store, ui), ui=ui,
    )  # fmt: skip
    return replace(part, built=built, raw=disk.raw_image(built.download, store))


def pack_tools(planned: BuildPlan, store: Store, ui: Ui) -> Toolbox:
    """The tools that read and write boot partitions."""
    return debian_packages.host_tools(
        planned.lock, "pack", store, offline=planned.offline, progress=ui
    )
