"""A finished image, signed as the last step: what changes, what does not, what is refused."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from edgeimg.arch import ARM, X86_64, Arch
from edgeimg.build.options import BuildOptions, K3sChoice
from edgeimg.build.plan import BuildPlan, plan_build
from edgeimg.build.result import Built
from edgeimg.errors import BudgetError, RecipeError, SigningKeyError, SmokeError, VerifyError
from edgeimg.image.manifest import Manifest, encode
from edgeimg.pack import boot_files, esp, fat, publish
from edgeimg.recipe.file import RecipeFile, load
from edgeimg.recipe.trust import Trust
from edgeimg.release import artifacts, boot_check, boot_parts, boot_signing, gates
from edgeimg.release.assemble import Part
from edgeimg.release.boot_check import BootCheck
from edgeimg.release.facts import ReleasedImage, ReleaseFacts
from edgeimg.release.gates import Hold
from edgeimg.release.layout import FACTS
from edgeimg.sbom import Distribution
from edgeimg.trust import authenticode, secure_boot
from edgeimg.trust.boot_keys import KeyDirectory
from edgeimg.trust.secure_boot import BootSigner
from edgeimg.ui import Ui
from edgeimg.vm import disk

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not shutil.which("openssl"), reason="no openssl: apt install openssl"),
]

PROJECT = Path(__file__).parents[2]
EPOCH = 1767225600
NAME = "gateway_0.1.0_x86-64"
UKI = "EFI/Linux/gateway_0.1.0+3.efi"
PROGRAMS = ["EFI/BOOT/BOOTX64.EFI", UKI, "EFI/systemd/systemd-bootx64.efi"]


@dataclass(frozen=True)
class Made:
    source: RecipeFile
    raw: Path
    built: Built
    signed: Built
    signer: BootSigner

    def problems(self, raw: Path, signer: BootSigner, tiny) -> list[str]:
        wanted = boot_check.expected(X86_64, self.built.manifest, {}, "off")
        return boot_check.problems(
            raw, self.built.manifest, wanted,
            boot_check.Trusted(certificates=(signer.certificate,)),
            store=tiny.cache, toolbox=tiny.pack,
        )  # fmt: skip


@pytest.fixture(scope="module")
def made(tiny, publish_image: Callable[..., publish.Published], tmp_path_factory) -> Made:
    """A tiny image of a recipe that names certificates, unsigned and signed."""
    root = tmp_path_factory.mktemp("made")
    public = root / "keys/secure-boot"
    secure_boot.generate(KeyDirectory(root / "private"), public, name="Example Ltd", epoch=EPOCH)
    source = load(PROJECT / "recipes/gateway.toml")
    trust = Trust(secure_boot=os.path.relpath(public, source.project))
    source = dataclasses.replace(source, recipe=source.recipe.model_copy(update={"trust": trust}))
    plan = plan_build(
        source, X86_64, BuildOptions(output=root / "out", k3s=K3sChoice(source="standin"))
    )
    (root / "disk").mkdir()
    packed = tiny.make(X86_64, {}, root / "disk")
    published = publish_image(tiny, packed, plan.directory)
    built = Built(
        plan=plan,
        manifest=Manifest.read(plan.directory / f"{NAME}.manifest.json"),
        files={file.name: file for file in published.files},
        unchanged=False,
    )
    signer = secure_boot.signer(KeyDirectory(root / "private"), public)
    signed = boot_signing.sign(built, signer, store=tiny.cache, toolbox=tiny.pack, ui=Ui())
    return Made(source, packed.raw, built, signed, signer)


def flipped(program: bytes) -> bytes:
    changed = bytearray(program)
    changed[len(changed) // 2] ^= 1
    return bytes(changed)


def test_every_program_of_the_boot_partition_is_signed(made: Made, tiny, tmp_path: Path) -> None:
    unsigned = made.problems(made.raw, made.signer, tiny)
    assert unsigned == [f"{name}: it is not signed" for name in PROGRAMS]
    (hold, *_) = gates.of_boot_files("x86-64", unsigned)
    assert (hold.gate, len(unsigned)) == ("unsigned-boot", 3)
    raw = disk.raw_image(made.signed.download, tiny.cache)
    assert made.problems(raw, made.signer, tiny) == []
    found = boot_files.read(raw, made.signed.manifest.disk, tmp_path, toolbox=tiny.pack)
    assert sorted(found) == [*PROGRAMS, "loader/loader.conf"]
    assert found[UKI].stat().st_size == made.signed.manifest.sizes["uki"]
    assert made.signed.manifest.secure_boot == made.signer.certificate.fingerprint


def test_only_the_boot_partition_differs(made: Made, tiny, tmp_path: Path) -> None:
    raw = disk.raw_image(made.signed.download, tiny.cache)
    part = made.built.manifest.disk["esp"]
    with raw.open("rb") as signed, made.raw.open("rb") as plain:
        assert signed.read(part.start) == plain.read(part.start)
        assert signed.read(part.size) != plain.read(part.size)
        while block := plain.read(1 << 20):
            assert signed.read(len(block)) == block
        assert not signed.read(1)
    with raw.open("rb") as file, (tmp_path / "part.fat").open("wb") as copy:
        file.seek(part.start)
        copy.write(file.read(part.size))
    tiny.pack.run("fsck.fat", "-n", tmp_path / "part.fat", timeout=60)
    same = tmp_path / "same.raw"
    boot_files.replace(
        made.raw, made.built.manifest.disk, same, change=bytes, epoch=EPOCH, toolbox=tiny.pack
    )
    assert subprocess.run(["cmp", same, made.raw], check=False).returncode == 0


def test_signed_images_of_a_release_that_is_held_back_are_removed(
    made: Made, tiny, tmp_path: Path
) -> None:
    plan = dataclasses.replace(made.built.plan, output=tmp_path)
    shutil.copytree(made.built.directory, plan.directory)
    built = dataclasses.replace(made.built, plan=plan)
    part = Part(
        built=built, raw=made.raw, distribution=Distribution(id="debian", version="13"), sbom={},
        components=(),
    )  # fmt: skip
    signed = boot_signing.signed_plan(plan).directory
    with (
        pytest.raises(SmokeError),
        boot_parts.signed([part], made.signer, store=tiny.cache, ui=Ui()) as parts,
    ):
        assert parts[0].built.directory == signed
        (signed / "smoke").mkdir()
        raise SmokeError("a guest failed")
    assert [path.name for path in signed.iterdir()] == ["smoke"]
    with boot_parts.signed([part], made.signer, store=tiny.cache, ui=Ui()) as parts:
        pass
    assert parts[0].built.files == made.signed.files
    assert parts[0].built.download.is_file()


def test_without_room_for_signatures_nothing_is_signed(made: Made, tiny, tmp_path: Path) -> None:
    part, used = made.built.manifest.disk["esp"], []

    def write(name: str, filler: int) -> dict[str, int]:
        place = tmp_path / name
        place.mkdir()
        return boot_files.replace(
            made.raw, made.built.manifest.disk, place / "disk.raw", growth=growth,
            change=lambda program: used.append(program) or program,
            more={"filler": bytes(filler)}, epoch=EPOCH, toolbox=tiny.pack,
        )  # fmt: skip

    growth = authenticode.growth(made.signer.certificate)
    programs = write("programs", 0).values()
    loaders = len(esp.LOADER_CONF)
    room = part.size - (2 << 20) - sum(programs) - loaders
    used.clear()
    with pytest.raises(BudgetError):
        write("full", room - growth * len(programs) + 1)
    assert not used
    write("room", room - growth * len(programs))
    assert len(used) == len(programs) == len(PROGRAMS)
    sizes = made.signed.manifest.sizes["uki"] - made.built.manifest.sizes["uki"]
    assert sizes == growth


def test_signatures_are_attached_again_without_a_key(made: Made, tiny, tmp_path: Path) -> None:
    """What `verify --rebuild` does: the same bytes, from the unsigned image and the release."""
    plan = dataclasses.replace(made.built.plan, output=tmp_path)
    shutil.copytree(made.built.directory, plan.directory)
    again = boot_signing.attach(
        dataclasses.replace(made.built, plan=plan), made.signed.directory,
        made.signer.certificate, store=tiny.cache, toolbox=tiny.pack, ui=Ui(),
    )  # fmt: skip
    assert again.files == made.signed.files
    unsigned = boot_signing.attach(
        made.built, made.built.directory, made.signer.certificate,
        store=tiny.cache, toolbox=tiny.pack, ui=Ui(),
    )  # fmt: skip
    assert unsigned is made.built


def test_a_changed_uki_and_another_key_are_refused(made: Made, tiny, tmp_path: Path) -> None:
    raw = disk.raw_image(made.signed.download, tiny.cache)

    def change(program: bytes) -> bytes:
        return flipped(program) if len(program) > 1 << 20 else program

    changed = tmp_path / "changed.raw"
    boot_files.replace(
        raw, made.built.manifest.disk, changed, change=change, epoch=EPOCH, toolbox=tiny.pack
    )
    (problem,) = made.problems(changed, made.signer, tiny)
    assert problem.startswith(UKI)
    other = tmp_path / "other"
    secure_boot.generate(KeyDirectory(other), tmp_path / "public", name="Example Ltd", epoch=EPOCH)
    stranger = secure_boot.signer(KeyDirectory(other), tmp_path / "public")
    assert len(made.problems(raw, stranger, tiny)) == len(PROGRAMS)
    assert made.problems(raw, made.signer, tiny) == []
    with pytest.raises(SigningKeyError):
        secure_boot.signer(
            KeyDirectory(other), made.source.locate(str(made.source.recipe.trust.secure_boot))
        )


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"EFI/BOOT/BOOTIA32.EFI": b"PE\0\0"}, "EFI/BOOT/BOOTIA32.EFI: it does not belong there"),
        ({"loader/entries/x.conf": b"title x\n"}, "loader/entries/x.conf: it does not belong"),
        ({"loader/keys/auto/db.auth": b"x"}, "loader/keys/auto/db.auth: it does not belong"),
        ({"loader/loader.conf": b"editor yes\n"}, "loader/loader.conf: it has another content"),
        ({"EFI/BOOT/BOOTX64.EFI": b"PE\0\0"}, "EFI/BOOT/BOOTX64.EFI: "),
        ({"EFI/BOOT/BOOTX64.EFI": bytes(4096)}, "EFI/BOOT/BOOTX64.EFI: "),
    ],
)
def test_other_files_in_the_boot_partition_are_problems(
    made: Made, tiny, tmp_path: Path, files: dict[str, bytes], problem: str
) -> None:
    raw = disk.raw_image(made.signed.download, tiny.cache)
    changed = tmp_path / "changed.raw"
    boot_files.replace(
        raw, made.built.manifest.disk, changed, change=bytes, more=files, epoch=EPOCH,
        toolbox=tiny.pack,
    )  # fmt: skip
    (found,) = made.problems(changed, made.signer, tiny)
    assert found.startswith(problem)


def test_another_boot_partition_than_the_manifests_is_a_problem(
    made: Made, tiny, tmp_path: Path
) -> None:
    raw = shutil.copy(disk.raw_image(made.signed.download, tiny.cache), tmp_path / "moved.raw")
    assert made.problems(raw, made.signer, tiny) == []
    other = made.built.manifest.disk["root-b"].type
    tiny.pack.run("sfdisk", "--part-type", raw, "1", other, timeout=60)
    (found,) = made.problems(raw, made.signer, tiny)
    assert "another EFI system partition" in found


def facts(made: Made, *holds: Hold, archs: Sequence[str] = ("x86-64",)) -> bytes:
    """A release.json."""
    contents = made.built.manifest.contents
    images = tuple(
        ReleasedImage(
            arch=arch, file="", sha256="", root_hash="", k3s=contents.k3s, build=""
        )
        for arch in archs
    )  # fmt: skip
    document = ReleaseFacts(
        id=contents.id, version=contents.version, overrides=holds, images=images, files=()
    )
    return encode(document.to_json())


@pytest.fixture
def release(made: Made, tiny, tmp_path: Path) -> Path:
    """The signed image with its update files and release.json."""
    release = tmp_path / "release"
    shutil.copytree(made.signed.directory, release)
    raw = disk.raw_image(release / f"{NAME}.raw.zst", tiny.cache)
    artifacts.split(raw, NAME, made.signed.manifest, release, toolbox=tiny.pack)
    (release / FACTS).write_bytes(facts(made))
    return release


@pytest.fixture
def check(made: Made, tiny) -> Callable[..., BootCheck]:
    def check(path: Path, *, authentic: bool = True) -> BootCheck:
        return boot_check.check(
            path, made.source, authentic=authentic, store=tiny.cache, toolbox=tiny.pack
        )

    return check


def test_verify_checks_the_images_and_the_update_files(
    made: Made, release: Path, check: Callable[..., BootCheck]
) -> None:
    signed_image = BootCheck(signed=(NAME,))
    assert check(release) == signed_image
    uki, image = release / f"{NAME}.efi", release / f"{NAME}.raw.zst"
    signed = uki.read_bytes()
    uki.write_bytes(flipped(signed))
    for path in (release, uki):
        with pytest.raises(VerifyError, match=uki.name):
            check(path)
    assert check(image) == signed_image
    uki.unlink()
    with pytest.raises(VerifyError, match=uki.name):
        check(release)
    uki.write_bytes(signed)
    assert check(uki) == check(release) == signed_image
    assert check(release / FACTS) == BootCheck()
    with pytest.raises(VerifyError, match="BOOTX64"):
        check(made.built.directory)
    with pytest.raises(VerifyError, match="BOOTX64"):
        check(made.built.download)


def test_verify_finds_every_image_that_the_release_lists(
    made: Made, release: Path, check: Callable[..., BootCheck], tmp_path: Path
) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(VerifyError, match="there is no image"):
        check(empty)
    for archs, problem in (
        (("x86-64", "arm64"), "gateway_0.1.0_arm64: there is no "),
        ((), f"{NAME}: release.json does not list"),
        (("x86-64", "riscv64"), "gateway_0.1.0_riscv64: there is no "),
    ):
        (release / FACTS).write_bytes(facts(made, archs=archs))
        with pytest.raises(VerifyError, match=problem):
            check(release)
    (release / FACTS).write_bytes(facts(made))
    manifest = release / f"{NAME}.manifest.json"
    text = manifest.read_text()
    for arch in ("riscv64", ""):
        manifest.write_text(text.replace('"x86-64"', f'"{arch}"'))
        with pytest.raises(VerifyError, match="is no architecture"):
            check(release)
    manifest.write_text(text)
    image = release / f"{NAME}.raw.zst"
    content = image.read_bytes()
    for damaged in (b"", content[: len(content) // 2], None):
        image.unlink()
        if damaged is not None:
            image.write_bytes(damaged)
        with pytest.raises(VerifyError, match=NAME):
            check(release)
    image.write_bytes(content)
    assert check(release) == BootCheck(signed=(NAME,))


def test_verify_takes_unsigned_boot_files_as_the_signed_release_records_them(
    made: Made, tiny, check: Callable[..., BootCheck], tmp_path: Path
) -> None:
    release = tmp_path / "release"
    shutil.copytree(made.built.directory, release)
    artifacts.split(made.raw, NAME, made.built.manifest, release, toolbox=tiny.pack)
    named = [
        Hold(gate="unsigned-boot", reason=f"x86-64: {name}: it is not signed")
        for name in PROGRAMS
    ]  # fmt: skip
    (general,) = gates.of_missing_boot_key([made.built.plan])
    for holds in ([general], named):
        (release / FACTS).write_bytes(facts(made, *holds))
        assert check(release) == check(release / f"{NAME}.raw.zst") == BootCheck(unsigned=(NAME,))
        with pytest.raises(VerifyError, match="it is not signed") as unknown:
            check(release, authentic=False)
        assert "--key" in str(unknown.value.hint)
    other = Hold(gate="unsigned-boot", reason=general.reason.replace("x86-64", "arm64"))
    for holds in ([], [other], named[1:], [Hold(gate="boot", reason=general.reason)]):
        (release / FACTS).write_bytes(facts(made, *holds))
        with pytest.raises(VerifyError, match="it is not signed"):
            check(release)
    (release / FACTS).write_bytes(facts(made, general))
    uki = release / f"{NAME}.efi"
    content = uki.read_bytes()
    uki.write_bytes(flipped(content))
    with pytest.raises(VerifyError, match="another UKI"):
        check(release)
    uki.write_bytes(content)
    assert check(release) == BootCheck(unsigned=(NAME,))


def test_armv7_needs_no_signature(made: Made) -> None:
    options = BuildOptions(output=Path("out"), k3s=K3sChoice(source="standin"))
    assert boot_signing.required(made.built.plan)
    assert not boot_signing.required(plan_build(made.source, ARM, options))


def test_the_boot_loader_gets_keys_to_enroll_when_the_recipe_says_so(
    made: Made, tiny, tmp_path: Path
) -> None:
    """In a signed image. An unsigned one would enroll keys that refuse its own boot loader."""

    def plan_with(enroll: str, arch: Arch) -> BuildPlan:
        trust = {**made.source.recipe.trust.model_dump(), "enroll": enroll}
        recipe = made.source.recipe.model_copy(update={"trust": Trust.model_validate(trust)})
        options = BuildOptions(output=tmp_path, k3s=K3sChoice(source="standin"))
        return plan_build(dataclasses.replace(made.source, recipe=recipe), arch, options)

    off, force = plan_with("off", X86_64), plan_with("force", X86_64)
    assert (off.enrolment, off.key) == ({}, made.built.plan.key)
    assert sorted(force.enrolment) == ["KEK.auth", "PK.auth", "db.auth"]
    assert force.key != off.key
    assert not plan_with("force", ARM).enrolment
    built = dataclasses.replace(made.built, plan=dataclasses.replace(
        made.built.plan, enrolment=force.enrolment, recipe=force.recipe, output=tmp_path / "new"
    ))  # fmt: skip
    shutil.copytree(made.built.directory, built.plan.directory)
    signed = boot_signing.sign(built, made.signer, store=tiny.cache, toolbox=tiny.pack, ui=Ui())
    raw = disk.raw_image(signed.download, tiny.cache)
    for image, names in ((made.raw, set()), (raw, set(force.enrolment))):
        offset = made.built.manifest.disk["esp"].start
        folder = tmp_path / f"files-{len(names)}"
        folder.mkdir()
        files = fat.extract_all(image, folder, offset=offset, toolbox=tiny.pack)
        keys = {name.rpartition("/")[2] for name in files if name.startswith("loader/keys/auto/")}
        assert keys == names
        setting = b"secure-boot-enroll force\n" if names else b""
        assert files["loader/loader.conf"].read_bytes() == esp.LOADER_CONF + setting
    variable = made.source.locate(f"{made.source.recipe.trust.secure_boot}/db.auth")
    content = variable.read_bytes()
    for damaged in (b"", content[:200], b"x" * 4096):
        variable.write_bytes(damaged)
        with pytest.raises(RecipeError, match=r"db\.auth"):
            plan_with("force", X86_64)
    variable.write_bytes(content)
    assert plan_with("force", X86_64).key == force.key
