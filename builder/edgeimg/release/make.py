"""A release, top to bottom: from a recipe to a signed directory that was seen to work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from edgeimg import __version__, sbom, tools
from edgeimg.arch import Arch, find_arch
from edgeimg.build import guests, pipeline
from edgeimg.build.guests import BootImage
from edgeimg.build.options import BuildOptions, K3sChoice, ReleaseOptions
from edgeimg.build.plan import BuildPlan, plan_build, plan_builds
from edgeimg.build.stages import CheckReport
from edgeimg.cache.store import Store, disk_errors, sha256_file, source_digest
from edgeimg.check import codequality, sarif
from edgeimg.check.findings import Finding
from edgeimg.errors import RecipeError, VerifyError
from edgeimg.fetch.shared_cache import SharedCache
from edgeimg.recipe.file import RecipeFile
from edgeimg.release import assemble, boot_parts, boot_signing, evidence, gates, releases
from edgeimg.release.assemble import Part
from edgeimg.release.evidence import Evidence
from edgeimg.release.facts import ReleaseFacts
from edgeimg.release.gates import Hold
from edgeimg.release.layout import EVIDENCE, FACTS, SUMS, UPDATE_SUMS
from edgeimg.release.provenance import Origin
from edgeimg.release.releases import Released
from edgeimg.smoke.report import SmokeReport
from edgeimg.trust import keys, signatures
from edgeimg.ui import Ui
from edgeimg.vm import disk


def release(
    source: RecipeFile,
    archs: Sequence[Arch],
    options: ReleaseOptions,
    *,
    store: Store,
    ui: Ui,
    cache: SharedCache | None = None,
) -> Released:
    """Build, check, boot, sign and publish all images of one version together.

    Earlier builds and boots of the same bytes are used again. Raises ReleaseError,
    BudgetError, CheckError or SmokeError when something holds the release back.
    """
    _without_board(source)
    allowed = options.allow | set(source.recipe.release.allow)
    build_options = replace(options.build, over_budget="budget" in allowed)
    plans = plan_builds(source, archs, build_options)
    if finished := releases.finished(
        plans,
        options.directory,
        {plan.arch.name: boot_parts.fingerprint(source, plan) for plan in plans},
        unsigned=options.boot_keys is None,
    ):
        return finished
    signer = keys.find(options.key, home=options.home)
    boot_signer = boot_parts.signer(source, options)
    final = releases.place(plans, options.directory)
    with ui.aside():
        signatures.rehearse(signer, passphrase_file=options.passphrase_file)
    holds = gates.of_inputs(plans, [*source.files, source.lock_path], source.project)
    if boot_signer is None:
        holds += gates.of_missing_boot_key(filter(boot_signing.required, plans))
    gates.refuse(holds, allowed)

    results = [_make(planned, store, ui, cache) for planned in plans]
    unsigned, findings = [part for part, _ in results], [report.findings for _, report in results]
    holds += gates.of_k3s(part.built.manifest for part in unsigned)
    holds += _of_findings(source, plans, findings, options)
    gates.refuse(holds, allowed)
    with boot_parts.signed(unsigned, boot_signer, store=store, ui=ui) as parts:
        if boot_signer is not None:
            holds += boot_parts.holds(source, parts, store, ui)
            gates.refuse(holds, allowed)
        boots = _boots(parts, options, store, ui)
        findings = [(*before, *boot.findings) for before, boot in zip(findings, boots, strict=True)]
        holds += [hold for boot in boots for hold in gates.of_boot(boot.arch, boot.checks)]
        holds += _of_findings(source, plans, findings, options)
        overrides = gates.refuse(holds, allowed)

    work = releases.empty(final.with_name(f".{final.name}.partial"))
    _write(source, parts, overrides, work, store, ui)
    record = Evidence(
        source=source,
        parts=parts,
        findings=findings,
        boots=boots,
        overrides=overrides,
        previous=options.previous or releases.latest(options.directory),
    )
    evidence.write(record, work / EVIDENCE)
    with ui.step(f"sign it with {signer.fingerprint[-16:]}"), ui.aside():
        assemble.sums(work / EVIDENCE)
        for listing in (work / UPDATE_SUMS, work / SUMS, work / EVIDENCE / SUMS):
            signatures.sign(listing, signer, passphrase_file=options.passphrase_file)
        assemble.publish(work, final)
    return Released(
        version=final.name,
        directory=final,
        archs=tuple(arch.name for arch in archs),
        overrides=overrides,
        key=signer.fingerprint,
        shared=tuple(part.plan.arch.name for part in parts if part.built.shared),
    )


def rebuild(
    directory: Path,
    source: RecipeFile,
    *,
    work: Path,
    k3s_file: K3sChoice | None = None,
    store: Store,
    ui: Ui,
) -> Path:
    """Make the release in `directory` once more from the recipe and its lock, below `work`.

    Neither earlier results, except downloads, nor a shared cache are used. `k3s_file` is the K3s
    of a release that was made with one. Neither signatures nor evidence are made. Returns the
    directory to compare with. Raises VerifyError when `directory` is not a release of this recipe.
    """
    facts = ReleaseFacts.read(directory / FACTS)
    try:
        archs = {image: find_arch(image.arch) for image in facts.images}
    except KeyError as error:
        raise VerifyError(f"{directory / FACTS} is of an unknown architecture: {error}") from error
    fresh = Store(work / "cache", store.progress)
    releases.empty(fresh.root)
    blobs = store.root / "blobs"
    with disk_errors(work):
        for path in (fresh.root, blobs):
            path.mkdir(parents=True, exist_ok=True)
        (fresh.root / "blobs").symlink_to(blobs.resolve())
    parts = []
    for image, arch in archs.items():
        k3s = image.k3s.source if image.k3s else None
        build_options = BuildOptions(
            output=work / "out",
            k3s=k3s_file if k3s in ("file", None) else K3sChoice(source=k3s),
            over_budget=any(hold.gate == "budget" for hold in facts.overrides),
        )
        planned = plan_build(source, arch, build_options)
        part = _make(planned, fresh, ui)[0]
        parts.append(boot_parts.with_signatures(part, source, directory, fresh, ui))
    _write(source, parts, facts.overrides, work / "release", fresh, ui)
    return work / "release"


def _without_board(source: RecipeFile) -> None:
    """Update files of a board are those of the image without one, under its name."""
    if source.recipe.board is not None:
        raise RecipeError(
            f"a release is made without a board, and the recipe has {source.recipe.board.name}",
            hint="remove [board] from the recipe; `edgeimg build --board` makes the board's image, "
            "which takes the same update files",
        )


def _boots(
    parts: Sequence[Part], options: ReleaseOptions, store: Store, ui: Ui
) -> list[SmokeReport]:
    images = [
        BootImage(arch=part.plan.arch, recipe=part.plan.recipe, path=part.built.download)
        for part in parts
    ]
    return guests.smoke(images, parts[0].plan.lock, options.guest, store=store, ui=ui)


def _make(
    planned: BuildPlan,
    store: Store,
    ui: Ui,
    cache: SharedCache | None = None,
) -> tuple[Part, CheckReport]:
    """One architecture: composed, built, looked into, described."""
    composed = pipeline.compose(planned, store, ui)
    built = pipeline.build(planned, store=store, ui=ui, composed=composed, cache=cache)
    report = pipeline.check_composed(composed, built.sizes, ui)
    bill = pipeline.describe(composed, ui)
    part = Part(
        built=built,
        raw=disk.raw_image(built.download, store),
        distribution=bill.distribution,
        sbom={".cdx.json": sbom.cyclonedx(bill), ".spdx.json": sbom.spdx(bill)},
        components=sbom.rows(bill),
    )
    return part, report


def _of_findings(
    source: RecipeFile,
    plans: Sequence[BuildPlan],
    findings: Sequence[Sequence[Finding]],
    options: ReleaseOptions,
) -> list[Hold]:
    """The gates that findings hold back. The findings are written for CI services first."""
    by_arch = {planned.arch.name: items for planned, items in zip(plans, findings, strict=True)}
    if options.reports is not None:
        log = sarif.document(by_arch, source)
        with disk_errors(options.reports):
            options.reports.mkdir(parents=True, exist_ok=True)
            (options.reports / "findings.sarif").write_bytes(log)
            (options.reports / "code-quality.json").write_bytes(codequality.document(log))
    return [hold for arch, items in by_arch.items() for hold in gates.of_findings(arch, items)]


def _write(
    source: RecipeFile,
    parts: Sequence[Part],
    overrides: Iterable[Hold],
    directory: Path,
    store: Store,
    ui: Ui,
) -> None:
    lock = parts[0].plan.lock
    host = tools.build_host()
    origin = Origin(
        recipe=source.path.name,
        recipes={source.name_of(path): sha256_file(path) for path in source.files},
        lock_sha256=sha256_file(source.lock_path),
        k3s={
            part.plan.arch.name: facts
            for part in parts
            if (facts := part.built.manifest.contents.k3s) is not None
        },
        distribution=parts[0].distribution,
        tools=tools.packages(lock, "pack", host),
        builder_version=__version__,
        builder_digest=source_digest(),
        overrides=tuple(overrides),
    )
    toolbox = boot_parts.pack_tools(parts[0].plan, store, ui)
    for part in parts:
        with ui.step(f"{part.plan.arch.name}: pack its update files"):
            assemble.split(part, toolbox=toolbox, store=store)
    with ui.step("write the release"):
        url = source.recipe.release.url
        assemble.write(parts, origin, directory, url=url, toolbox=toolbox, store=store)
