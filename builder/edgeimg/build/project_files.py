"""The files of the project that go into an image: containers, boards, workloads, kernel, keys."""

from __future__ import annotations

from edgeimg.arch import Arch
from edgeimg.builtin import PREFIX
from edgeimg.compose import vendor_kernel
from edgeimg.compose.vendor_kernel import VendorKernel
from edgeimg.errors import RecipeError, VerifyError
from edgeimg.lock.model import KernelKind
from edgeimg.recipe.contents import Contents
from edgeimg.recipe.file import RecipeFile
from edgeimg.recipe.image_name import short_name
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.workloads import Workload
from edgeimg.text import bounded
from edgeimg.tree import Tree, file, overlay
from edgeimg.trust import openpgp, secure_boot

_MAX_KEYRING = 1 << 20
"""Bytes."""


def container_files(source: RecipeFile, group: str, contents: Contents, arch: Arch) -> Tree:
    """The project's program and files of one container. Raises RecipeError for missing ones."""
    kind, _, name = group.partition(":")
    key = f"{source.path}: {kind} {name}"
    files = Tree()
    if contents.binary is not None:
        binary = contents.program(arch.name)
        if binary is None:
            raise RecipeError(f"{key}.binary: {arch.name} has no program")
        path = source.locate(binary)
        if not path.is_file():
            raise RecipeError(f"{key}.binary: there is no file {path}")
        program = file(overlay.content(path), mode=0o755, origin=_origin(binary))
        files = files.with_nodes({f"usr/bin/{short_name(name)}": program})
    if contents.files is not None:
        directory = source.locate(contents.files)
        if not directory.is_dir():
            raise RecipeError(f"{key}.files: there is no directory {directory}")
        files = files.merge(overlay.from_directory(directory, origin=_origin(contents.files)))
    return files


def board_files(source: RecipeFile, recipe: Recipe) -> Tree:
    """The project's files of the board. Raises RecipeError when they are missing."""
    if recipe.board is None or recipe.board.files is None:
        return Tree()
    path = source.locate(recipe.board.files)
    if not path.is_dir():
        raise RecipeError(f"{source.path}: board.files: there is no directory {path}")
    return overlay.from_directory(path, origin=_origin(recipe.board.files))


def kernel(source: RecipeFile, recipe: Recipe, arch: Arch) -> VendorKernel | None:
    """The vendor's kernel as it is now; None for a package of the archive.

    Raises RecipeError when it is missing, ArchiveError for what is no file.
    """
    if not recipe.kernel.is_vendors:
        return None
    kind: KernelKind = "deb" if recipe.kernel.deb else "files"
    name = recipe.kernel.path(arch.name)
    place, expected = source.locate(name), "file" if kind == "deb" else "directory"
    if not (place.is_file() if kind == "deb" else place.is_dir()):
        raise RecipeError(f"{source.path}: kernel.{kind}: there is no {expected} {place}")
    return vendor_kernel.find(kind, name, place)


def manifests(source: RecipeFile, name: str, workload: Workload) -> Tree:
    """The project's manifests of one workload. Raises RecipeError when they are missing."""
    path = source.locate(workload.manifests)
    if path.is_file():
        return Tree().with_nodes({path.name: file(overlay.content(path))})
    if not path.is_dir():
        raise RecipeError(
            f"{source.path}: workloads.{name}.manifests: there is no file or directory {path}"
        )
    return overlay.from_directory(path, origin=f"workload:{name}")


def keyring(source: RecipeFile, name: str, path: str | None) -> bytes:
    """The binary OpenPGP keyring in the file of a recipe's key; empty without one.

    Raises RecipeError for a file that holds no public key.
    """
    if path is None:
        return b""
    place, key = source.locate(path), f"{source.path}: {name}"
    try:
        return openpgp.public_keys(bounded.read(place, _MAX_KEYRING))
    except OSError as error:
        raise RecipeError(f"{key}: cannot read {place}: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(
            f"{key}: {place}: {error}",
            hint="export the public key of who signs: edgeimg genkey --export FILE",
        ) from None


def enrolment(source: RecipeFile, recipe: Recipe, arch: Arch) -> dict[str, bytes]:
    """The variables that the boot loader writes into firmware, by file name; empty for none.

    Raises RecipeError when a certificate or variable is missing, or cannot be used.
    """
    trust = recipe.trust
    if trust.secure_boot is None or not arch.secure_boot:
        return {}
    directory = source.locate(trust.secure_boot)
    try:
        secure_boot.certificate(directory)
        if trust.enroll == "off":
            secure_boot.revoked(directory)
            return {}
        return secure_boot.variables(directory)
    except VerifyError as error:
        raise RecipeError(
            f"{source.path}: trust.secure_boot: {error.message}", hint=error.hint
        ) from None


def _origin(name: str) -> str:
    return f"overlay:{name.removeprefix(PREFIX)}"
