"""The kernel of an image: a package of the lock, or a vendor's in the project."""

from __future__ import annotations

from collections.abc import Sequence

from edgeimg.arch import Arch
from edgeimg.build import debian_packages, project_files
from edgeimg.build.plan import BuildPlan
from edgeimg.cache.store import Store
from edgeimg.compose import kernel_deb, vendor_kernel
from edgeimg.compose.kernel_deb import Kernel
from edgeimg.errors import LockError
from edgeimg.lock.file import REPAIR
from edgeimg.lock.model import KernelPin
from edgeimg.progress import Progress
from edgeimg.recipe.file import RecipeFile
from edgeimg.resolve.update import KERNEL


def read(plan: BuildPlan, store: Store, progress: Progress) -> Kernel:
    """The kernel of the plan. Raises LockError, FetchError, ArchiveError, ArchitectureError."""
    if plan.kernel is not None:
        return vendor_kernel.read(plan.kernel, plan.arch, store)
    packages = debian_packages.group(plan, KERNEL, store, progress)
    if not packages:
        raise LockError(f"the lock has no kernel for {plan.arch.name}", hint=REPAIR)
    return kernel_deb.from_deb(packages[0])


def pins(source: RecipeFile, archs: Sequence[Arch], store: Store) -> dict[str, KernelPin]:
    """The vendors' kernels by architecture, for the lock: each was read and judged.

    Raises RecipeError for a missing one, ArchiveError, ArchitectureError.
    """
    found = {}
    for arch in archs:
        vendor = project_files.kernel(source, source.recipe.for_arch(arch), arch)
        if vendor is not None:
            vendor_kernel.read(vendor, arch, store)
            found[arch.name] = vendor.pin
    return found
