"""Signs the boot files of a finished image, as the last step before it is published.

A build has no keys and gives the same bytes to everybody. A signed image is that image with
certificate tables at the end of its EFI programs: see docs/adr/0020-sign-last.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from edgeimg.arch import Arch
from edgeimg.build import project_files
from edgeimg.build.plan import BuildPlan
from edgeimg.build.result import Built
from edgeimg.cache.store import Store, disk_errors
from edgeimg.errors import ImageError, VerifyError
from edgeimg.image.manifest import SUFFIX, Manifest
from edgeimg.pack import boot_files, disk, esp
from edgeimg.pack import publish as publishing
from edgeimg.recipe.file import RecipeFile
from edgeimg.tools import Toolbox
from edgeimg.trust import authenticode, secure_boot
from edgeimg.trust.pkcs7 import Certificate
from edgeimg.trust.secure_boot import BootSigner
from edgeimg.ui import Ui
from edgeimg.vm import disk as guest_disk

_DIRECTORY = "signed"
"""Where signed images are, in the directory of finished images."""


def required(plan: BuildPlan) -> bool:
    """Whether an image's boot files have to be signed."""
    return plan.recipe.trust.secure_boot is not None and plan.arch.secure_boot


def public_keys(source: RecipeFile) -> Path | None:
    """The directory with the certificates of a recipe; None if it has none."""
    name = source.recipe.trust.secure_boot
    return None if name is None else source.locate(name)


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
    raw = guest_disk.raw_image(download, store)
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


def expected(
    arch: Arch, manifest: Manifest, variables: Mapping[str, bytes], enroll: str
) -> dict[str, bytes | None]:
    """The files of a signed image's boot partition, by path; None: a program that is signed."""
    uki = esp.uki_name(manifest.contents.id, manifest.contents.version)
    programs = (
        f"EFI/BOOT/BOOT{arch.efi.upper()}.EFI", f"EFI/systemd/systemd-boot{arch.efi}.efi",
        f"EFI/Linux/{uki}",
    )  # fmt: skip
    texts = {"loader/loader.conf": esp.LOADER_CONF, **esp.enrolment(variables, enroll)}
    return {**dict.fromkeys(programs), **texts}


def problems(
    raw: Path,
    manifest: Manifest,
    wanted: Mapping[str, bytes | None],
    certificates: Sequence[Certificate],
    *,
    store: Store,
    toolbox: Toolbox,
) -> list[str]:
    """What is wrong in a disk image's boot partition: its place, its files, their signatures.

    `wanted` are its files (`expected`); programs are signed by one of the certificates.
    """
    part = manifest.disk["esp"]
    plan = disk.read(raw, toolbox=toolbox)
    places = [(one.start, one.size) for one in plan.partitions if one.type == disk.ESP_TYPE]
    if places != [(part.start, part.size)]:
        return ["the partition table has another EFI system partition than the manifest"]
    with store.work("boot-files") as work:
        found = boot_files.read(raw, manifest.disk, work, toolbox=toolbox)
        wrong = [f"{name}: it is missing" for name in sorted(wanted.keys() - found.keys())]
        for name, path in sorted(found.items()):
            if name not in wanted:
                wrong.append(f"{name}: it does not belong there")
            elif (content := wanted[name]) is None:
                wrong += [f"{name}: {text}" for text in [problem_of(path, certificates)] if text]
            elif path.stat().st_size != len(content) or path.read_bytes() != content:
                wrong.append(f"{name}: it has another content")
        return wrong


def problem_of(program: Path, certificates: Sequence[Certificate]) -> str:
    """Why firmware with the certificates would not start a program; empty when it would."""
    try:
        authenticode.verify(program.read_bytes(), certificates)
    except VerifyError as error:
        return error.message
    return ""


def check(directory: Path, source: RecipeFile, *, store: Store, toolbox: Toolbox) -> int:
    """Check all boot files of a release, or of one file's image, and return their images' number.

    Raises VerifyError, naming every boot file that is not signed by the recipe's certificate.
    """
    public = public_keys(source)
    if public is None:
        return 0
    certificates = [secure_boot.certificate(public)]
    wrong: list[str] = []
    archs = {arch.name: arch for arch in source.recipe.archs}
    manifests = [
        manifest
        for path in sorted(directory.glob(f"*{SUFFIX}"))
        if (manifest := Manifest.read(path)).contents.arch in archs
        and archs[manifest.contents.arch].secure_boot
    ]
    for manifest in manifests:
        name = manifest.contents.name
        raw = guest_disk.raw_image(directory / f"{name}.raw.zst", store)
        arch = archs[manifest.contents.arch]
        variables = project_files.enrolment(source, source.recipe, arch)
        wanted = expected(arch, manifest, variables, source.recipe.trust.enroll)
        found = problems(raw, manifest, wanted, certificates, store=store, toolbox=toolbox)
        wrong += [f"{name}.raw.zst: {problem}" for problem in found]
        uki = directory / f"{name}.efi"
        if uki.exists() and (problem := problem_of(uki, certificates)):
            wrong.append(f"{uki.name}: {problem}")
    if wrong:
        raise VerifyError(
            "\n  ".join([f"{directory}: boot files that Secure Boot refuses", *wrong]),
            hint=f"they were checked with {public / 'db.pem'}, which the recipe names",
        )
    return len(manifests)


def _publish(
    built: Built,
    change: Callable[[bytes], bytes],
    certificate: Certificate,
    *,
    store: Store,
    toolbox: Toolbox,
    ui: Ui,
) -> Built:
    plan = replace(built.plan, output=built.plan.output / _DIRECTORY)
    raw = guest_disk.raw_image(built.download, store)
    with store.work("sign") as work, disk_errors(store.root):
        signed = work / "disk.raw"
        sizes = boot_files.replace(
            raw, built.manifest.disk, signed, change=change,
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
        published = publishing.publish(
            signed, manifest, plan.directory, name=plan.name, toolbox=toolbox, progress=ui
        )
    return Built(
        plan=plan,
        manifest=manifest,
        files={file.name: file for file in published.files},
        unchanged=False,
        shared=built.shared,
    )
