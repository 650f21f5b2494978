"""Signs the boot files of a finished image, as the last step before it is published.

A build has no keys and gives the same bytes to everybody. A signed image is that image with
certificate tables at the end of its EFI programs: see docs/adr/0020-sign-last.md.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from edgeimg.build.plan import BuildPlan
from edgeimg.build.result import Built
from edgeimg.cache.store import Store, disk_errors
from edgeimg.errors import ImageError, VerifyError
from edgeimg.image.manifest import SUFFIX, Manifest
from edgeimg.pack import boot_files, esp, publish
from edgeimg.recipe.file import RecipeFile
from edgeimg.tools import Toolbox
from edgeimg.trust import authenticode
from edgeimg.trust.pkcs7 import Certificate
from edgeimg.trust.secure_boot import BootSigner
from edgeimg.ui import Ui
from edgeimg.vm import disk

_DIRECTORY = "signed"
"""Where signed images are, in the directory of finished images."""


def required(plan: BuildPlan) -> bool:
    """Whether an image's boot files have to be signed."""
    return plan.recipe.trust.secure_boot is not None and plan.arch.secure_boot


def public_keys(source: RecipeFile) -> Path | None:
    """The directory with the certificates of a recipe; None if it has none."""
    name = source.recipe.trust.secure_boot
    return None if name is None else source.locate(name)


def signed_plan(plan: BuildPlan) -> BuildPlan:
    """The plan of the signed image, in a directory of its own."""
    return replace(plan, output=plan.output / _DIRECTORY)


def sign(built: Built, signer: BootSigner, *, store: Store, toolbox: Toolbox, ui: Ui) -> Built:
    """The image with its boot loader, UKI and addons signed, in a directory of its own.

    Equal images and keys give equal bytes. Raises ImageError, ToolError, BudgetError, HostError.
    """

    def change(program: bytes) -> bytes:
        return authenticode.sign(program, signer.certificate, signer.sign)

    return _publish(built, change, signer.certificate, store=store, toolbox=toolbox, ui=ui)


def attach(
    built: Built,
    directory: Path,
    certificate: Certificate,
    *,
    store: Store,
    toolbox: Toolbox,
    ui: Ui,
) -> Built:
    """The image with the signatures of the same image in the release `directory`; no key is needed.

    Without signatures there, the image itself. Raises VerifyError when the programs differ.
    """
    published = Manifest.read(directory / f"{built.name}{SUFFIX}")
    if not published.secure_boot:
        return built
    download = directory / built.download.name
    raw = disk.raw_image(download, store)
    tables = {}
    with store.work("boot-files") as work:
        found = boot_files.read(raw, published.disk, work, toolbox=toolbox)
        for name, path in found.items():
            if boot_files.is_program(name):
                program, table = authenticode.split(path.read_bytes())
                tables[program] = table

    def change(program: bytes) -> bytes:
        if program not in tables:
            raise VerifyError(f"{download} has another boot loader or UKI than this build")
        return authenticode.attach(program, tables[program])

    return _publish(built, change, certificate, store=store, toolbox=toolbox, ui=ui)


def _publish(
    built: Built,
    change: Callable[[bytes], bytes],
    certificate: Certificate,
    *,
    store: Store,
    toolbox: Toolbox,
    ui: Ui,
) -> Built:
    plan = signed_plan(built.plan)
    raw = disk.raw_image(built.download, store)
    with store.work("sign") as work, disk_errors(store.root):
        signed = work / "disk.raw"
        sizes = boot_files.replace(
            raw, built.manifest.disk, signed, change=change,
            growth=authenticode.growth(certificate),
            more=esp.enrolment(plan.enrolment, plan.recipe.trust.enroll),
            epoch=plan.recipe.image.epoch, toolbox=toolbox,
        )  # fmt: skip
        uki = [size for name, size in sizes.items() if name.startswith("EFI/Linux/")]
        if len(uki) != 1:
            raise ImageError(f"{built.download} holds {len(uki)} boot entries, expected one")
        manifest = replace(
            built.manifest,
            sizes={**built.manifest.sizes, "uki": uki[0]},
            secure_boot=certificate.fingerprint,
        )
        published = publish.publish_build(
            signed, manifest, plan.directory, name=plan.name, toolbox=toolbox, progress=ui
        )
    return Built(
        plan=plan,
        manifest=manifest,
        files={file.name: file for file in published.files},
        unchanged=False,
        shared=built.shared,
    )
