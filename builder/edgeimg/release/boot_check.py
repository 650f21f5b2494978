"""Checks the boot files of images as firmware with the keys of a recipe would."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeimg.arch import Arch, find_arch
from edgeimg.build import project_files
from edgeimg.cache.store import Store
from edgeimg.errors import ArchiveError, ImageError, RecipeError, ToolError, VerifyError
from edgeimg.image.manifest import SUFFIX, Manifest
from edgeimg.pack import boot_files, disk, esp
from edgeimg.recipe.file import RecipeFile
from edgeimg.release import boot_signing
from edgeimg.release.facts import ReleaseFacts
from edgeimg.release.gates import NO_BOOT_KEY
from edgeimg.release.layout import FACTS
from edgeimg.tools import Toolbox
from edgeimg.trust import authenticode, secure_boot
from edgeimg.trust.pkcs7 import Certificate
from edgeimg.vm.disk import raw_image

_IMAGE, _UKI = ".raw.zst", ".efi"
_ENTRIES = "EFI/Linux/"
_UNSIGNED = "it is not signed"


@dataclass(frozen=True, kw_only=True)
class Trusted:
    """What firmware starts."""

    certificates: tuple[Certificate, ...]
    """Of db."""
    revoked: frozenset[bytes] = frozenset()
    """Digests of programs in dbx."""

    def problem(self, program: bytes) -> str:
        """Why firmware would not start a program; empty when it would."""
        try:
            authenticode.verify(program, self.certificates)
            revoked = authenticode.digest(authenticode.split(program)[0]) in self.revoked
        except VerifyError as error:
            return error.message
        return f"it is revoked by {secure_boot.REVOKED}" if revoked else ""


@dataclass(frozen=True, kw_only=True)
class BootCheck:
    """The images whose boot files were checked."""

    signed: tuple[str, ...] = ()
    unsigned: tuple[str, ...] = ()
    """The release records that their boot files are not signed (gate `unsigned-boot`)."""


@dataclass(frozen=True, kw_only=True)
class _Promise:
    """What has to be found, and be signed."""

    directory: Path
    names: tuple[str, ...]
    """Of images."""
    whole: bool
    """The directory is a release: it has update files."""
    problems: tuple[str, ...] = ()
    overrides: frozenset[str] = frozenset()
    """Reasons of the gate `unsigned-boot` that the release records."""


def trusted(public: Path) -> Trusted:
    """Firmware with the keys in a directory of certificates. Raises VerifyError, HostError."""
    return Trusted(
        certificates=(secure_boot.certificate(public),),
        revoked=frozenset(secure_boot.revoked(public)),
    )


def expected(
    arch: Arch, manifest: Manifest, variables: Mapping[str, bytes], enroll: str
) -> dict[str, bytes | None]:
    """The files of a signed image's boot partition, by path; None: a program that is signed."""
    uki = esp.uki_name(manifest.contents.id, manifest.contents.version)
    programs = (
        f"EFI/BOOT/BOOT{arch.efi.upper()}.EFI", f"EFI/systemd/systemd-boot{arch.efi}.efi",
        f"{_ENTRIES}{uki}",
    )  # fmt: skip
    texts = {"loader/loader.conf": esp.LOADER_CONF, **esp.enrolment(variables, enroll)}
    return {**dict.fromkeys(programs), **texts}


def problems(
    raw: Path,
    manifest: Manifest,
    wanted: Mapping[str, bytes | None],
    firmware: Trusted,
    *,
    uki: Path | None = None,
    store: Store,
    toolbox: Toolbox,
) -> list[str]:
    """What is wrong in a disk image's boot partition: its place, its files, their signatures.

    `wanted` are its files (`expected`). `uki` is the update file that has the same UKI.
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
            elif (content := wanted[name]) is not None:
                if path.stat().st_size != len(content) or path.read_bytes() != content:
                    wrong.append(f"{name}: it has another content")
            else:
                program = boot_files.program(path)
                if problem := firmware.problem(program):
                    wrong.append(f"{name}: {problem}")
                if uki and name.startswith(_ENTRIES) and not _holds(uki, program):
                    wrong.append(f"{uki.name}: it is another UKI than the one in the image")
        return wrong


def check(
    path: Path, source: RecipeFile, *, authentic: bool, store: Store, toolbox: Toolbox
) -> BootCheck:
    """Check all boot files of a release, of a build, or of one image or UKI.

    A release whose publisher allowed `unsigned-boot` by name passes as it is recorded, if
    `authentic`: its signature was verified. Raises VerifyError that names every image that is
    missing and every boot file that Secure Boot refuses; HostError.
    """
    public = boot_signing.public_keys(source)
    if public is None:
        return BootCheck()
    firmware = trusted(public)
    promise = _promise(path)
    wrong = list(promise.problems)
    signed, unsigned, excused = [], [], False
    for name in promise.names:
        try:
            manifest, arch = _manifest(promise, name)
            if not arch.secure_boot:
                continue
            found = _image(path, promise, name, manifest, arch, firmware, source, store, toolbox)
        except (ArchiveError, ImageError, RecipeError, ToolError, VerifyError) as error:
            wrong.append(f"{name}: {error.message}")
            continue
        if not found:
            signed.append(name)
            continue
        recorded = all(_is_recorded(arch, problem, promise.overrides) for problem in found)
        excused |= recorded
        if recorded and authentic:
            unsigned.append(name)
        else:
            wrong += [f"{name}: {problem}" for problem in found]
    if wrong:
        hint = f"they were checked with the keys in {public}, which the recipe names"
        if excused and not authentic:
            hint = "release.json says so too; verify who wrote it: --key FILE"
        raise VerifyError(
            "\n  ".join([f"{path}: boot files that Secure Boot refuses", *wrong]), hint=hint
        )
    return BootCheck(signed=tuple(signed), unsigned=tuple(unsigned))


def beside(path: Path) -> tuple[Path, ...]:
    """The files beside one image or UKI that say what it has to be; none for other files."""
    name = _name(path)
    files = (path.with_name(f"{name}{SUFFIX}"), path.with_name(FACTS))
    return tuple(file for file in files if file.is_file()) if name else ()


def _promise(path: Path) -> _Promise:
    """The images of a release, of a build, or the one that a file belongs to."""
    directory = path if path.is_dir() else path.parent
    found = {file.name.removesuffix(SUFFIX) for file in directory.glob(f"*{SUFFIX}")}
    whole, listed, overrides = (directory / FACTS).is_file(), found, frozenset[str]()
    if whole:
        facts = ReleaseFacts.read(directory / FACTS)
        listed = {f"{facts.id}_{facts.version}_{image.arch}" for image in facts.images}
        holds = (hold for hold in facts.overrides if hold.gate == "unsigned-boot")
        overrides = frozenset(hold.reason for hold in holds)
    problems = [f"{name}: {FACTS} does not list this image" for name in sorted(found - listed)]
    names = sorted(listed)
    if not path.is_dir():
        names, problems = [name for name in (_name(path),) if name], []
    elif not names:
        problems.append("there is no image")
    return _Promise(
        directory=directory, names=tuple(names), whole=whole and path.is_dir(),
        problems=tuple(problems), overrides=overrides,
    )  # fmt: skip


def _name(path: Path) -> str:
    """The image that a file is, or is the UKI of; empty for other files."""
    suffix = next((suffix for suffix in (_IMAGE, _UKI) if path.name.endswith(suffix)), None)
    return "" if suffix is None else path.name.removesuffix(suffix)


def _manifest(promise: _Promise, name: str) -> tuple[Manifest, Arch]:
    """Raises ImageError, VerifyError."""
    path = promise.directory / f"{name}{SUFFIX}"
    if not path.is_file():
        raise VerifyError(f"there is no {path.name}")
    manifest = Manifest.read(path)
    try:
        return manifest, find_arch(manifest.contents.arch)
    except KeyError:
        raise VerifyError(f"{manifest.contents.arch!r} is no architecture") from None


def _image(
    path: Path,
    promise: _Promise,
    name: str,
    manifest: Manifest,
    arch: Arch,
    firmware: Trusted,
    source: RecipeFile,
    store: Store,
    toolbox: Toolbox,
) -> list[str]:
    """The problems of one image and its update file, or of `path` only, if that is a UKI."""
    image, uki = (promise.directory / f"{name}{suffix}" for suffix in (_IMAGE, _UKI))
    if path == uki:
        problem = firmware.problem(boot_files.program(uki))
        return [problem] if problem else []
    missing = [file.name for file in (image, uki) if not file.is_file()]
    if image.name in missing or (promise.whole and missing):
        raise VerifyError(f"there is no {missing[0]}")
    enroll, variables = "off", {}
    if manifest.secure_boot:
        enroll = source.recipe.trust.enroll
        variables = project_files.enrolment(source, source.recipe, arch)
    return problems(
        raw_image(image, store),
        manifest,
        expected(arch, manifest, variables, enroll),
        firmware,
        uki=uki if uki.is_file() and path.is_dir() else None,
        store=store,
        toolbox=toolbox,
    )


def _is_recorded(arch: Arch, problem: str, overrides: frozenset[str]) -> bool:
    """Whether the release records a problem of an image, under the gate `unsigned-boot`."""
    plain = problem.endswith(_UNSIGNED) and f"{arch.name}: {NO_BOOT_KEY}" in overrides
    return plain or f"{arch.name}: {problem}" in overrides


def _holds(file: Path, content: bytes) -> bool:
    return file.stat().st_size == len(content) and file.read_bytes() == content
