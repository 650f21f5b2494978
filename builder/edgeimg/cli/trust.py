"""edgeimg genkey, verify: the keys of releases, and whether a release is genuine."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from edgeimg.build import pipeline
from edgeimg.build.options import K3sChoice
from edgeimg.cache.store import write_whole
from edgeimg.cli import boot_keys, options
from edgeimg.cli.app import App, with_app
from edgeimg.cli.boot_keys import KeysPlace
from edgeimg.cli.options import DEFAULT_RECIPE
from edgeimg.errors import SigningKeyError, VerifyError
from edgeimg.recipe.file import RecipeFile
from edgeimg.release import boot_check, difference, make
from edgeimg.release.boot_check import BootCheck
from edgeimg.release.verify import Verified, verify_release
from edgeimg.trust import keys, secure_boot
from edgeimg.trust.boot_keys import BootKeys
from edgeimg.trust.keys import Key, NewKey
from edgeimg.ui import human


@click.command(
    epilog='Example: edgeimg genkey --name "Gateway releases" --email releases@example.org '
    "--export keys/releases.asc    "
    'edgeimg genkey --secure-boot ~/boot-keys --name "Example Ltd"    '
    'edgeimg genkey --secure-boot ~/boot-keys --rotate keys/secure-boot --name "Example Ltd 2" '
    "--export keys/secure-boot-2"
)
@click.option("--name", required=True, help="Name of the publisher of the releases.")
@click.option("--email", help="Where its owner can be reached. Not for --secure-boot.")
@click.option(
    "--secure-boot",
    "boot_home",
    type=KeysPlace(),
    help="Make the keys of UEFI Secure Boot (PK, KEK, db) there instead: outside of the project, "
    "or in a PKCS #11 token.",
)
@click.option(
    "--rotate",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    metavar="DIRECTORY",
    help="With --secure-boot: make a new key of db there, for the PK and KEK of the certificates "
    "in this directory. --export names a new one.",
)
@click.option(
    "--home",
    type=click.Path(path_type=Path, file_okay=False),
    help="GnuPG's home directory, made if need be; outside of the project.  [default: yours]",
)
@click.option(
    "--export",
    "exported",
    type=click.Path(path_type=Path),
    help="Write the public key there: binary if the name ends in .gpg, else armored. With "
    "--secure-boot a directory for certificates and variables.  [default there: "
    f"{secure_boot.DIRECTORY}]",
)
@click.option(
    "--passphrase-file",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="Protect it with the passphrase in a file, instead of one that gpg asks for.",
)
@click.option("--no-passphrase", is_flag=True, help="Do not protect it: for a safe place only.")
@click.option(
    "--expires",
    default="never",
    show_default=True,
    metavar="never|2y|DATE",
    help="Expiry date. Existing signatures stay valid.",
)
@with_app
def genkey(
    app: App,
    *,
    name: str,
    email: str | None,
    boot_home: BootKeys | None,
    rotate: Path | None,
    home: Path | None,
    exported: Path | None,
    passphrase_file: Path | None,
    no_passphrase: bool,
    expires: str,
) -> None:
    """Make a key that signs releases. Ed25519, kept by gpg, outside of the project.

    Put the public key (--export) into the project, and name it in [release] key of the recipe.
    With --secure-boot: the keys that sign boot files. RSA, in files without a passphrase.
    Exits with 17 when the key would not be safe.
    """
    if boot_home is not None:
        if email or home or passphrase_file or no_passphrase or expires != "never":
            raise click.UsageError("--secure-boot takes --name, --export and --rotate only")
        if rotate is None:
            boot_keys.make(app, boot_home, exported, name)
        elif exported is None:
            raise click.UsageError("--rotate needs --export: a new directory")
        else:
            boot_keys.rotate(app, boot_home, rotate, exported, name)
        return
    if rotate is not None:
        raise click.UsageError("--rotate needs --secure-boot")
    if email is None:
        raise click.UsageError("Missing option '--email'.")
    if no_passphrase and passphrase_file is not None:
        raise click.UsageError("--no-passphrase and --passphrase-file exclude each other")
    new_key = NewKey(
        user_id=keys.user_id(name, email),
        home=home,
        passphrase_file=passphrase_file,
        protected=not no_passphrase,
        expires=expires,
    )
    if exported is not None and exported.exists():
        raise SigningKeyError(f"{exported} exists already: it would be lost")
    with app.ui.aside():
        key = keys.generate(new_key)
    if exported is not None:
        write_whole(exported, keys.export(key, armored=exported.suffix != ".gpg"))
    data = {
        "fingerprint": key.fingerprint,
        "user_id": key.user_id,
        "home": None if home is None else str(home),
        "export": None if exported is None else str(exported),
    }
    app.result(data, lambda console: _show_key(console, key, exported))


@click.command(
    epilog="Examples: edgeimg verify out/release/1.4.2 --key keys/releases.asc    "
    "edgeimg verify gateway_1.4.2_arm64.raw.zst --key releases.asc"
)
@click.argument("path", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--key",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The public key of its maker.  [default: [release] key of the recipe]",
)
@click.option(
    "--rebuild", is_flag=True, help="Also build it again from recipe and lock, and compare bytes."
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Build it again there, and leave it there.",
)
@click.option(
    "-r",
    "--recipe",
    "recipe",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The recipe.  [default: recipes/gateway.toml, if there is one]",
)
@options.k3s
@with_app
def verify(
    app: App,
    *,
    path: Path,
    key: Path | None,
    rebuild: bool,
    work: Path | None,
    k3s: K3sChoice | None,
    recipe: Path | None,
) -> None:
    """Check that a release is what its publisher signed.

    Or one file of it. Works offline. Checks signatures, the digest of every file, that nothing is
    missing or added, and that names and contents agree; the signatures of boot files, if the recipe
    has [trust] secure_boot: every image must be there and be signed, unless the signed release
    records the override unsigned-boot. Without a key only digests are compared. Exits with 16 when
    anything is wrong.
    """
    if rebuild and not path.is_dir():
        raise click.UsageError("--rebuild needs the directory of a release")
    source = _source(recipe, needed=rebuild)
    key = key or _recipe_key(source)
    with app.ui.step(f"verify {path.name or path}"):
        verified = verify_release(path, key, progress=app.ui)
    boot = _boot_files(app, verified, key, source)
    if rebuild and source is not None:
        _rebuild(app, path, source, work, k3s)
    data = {
        **verified.to_json(), "rebuilt": rebuild, "secure_boot": len(boot.signed),
        "unsigned_boot": list(boot.unsigned),
    }  # fmt: skip

    def show(console: Console) -> None:
        _show_verified(console, verified, rebuilt=rebuild)
        if boot.signed:
            console.print(Text(f"✓ boot files of {len(boot.signed)} images are signed for Secure "
                               "Boot", style="green"))  # fmt: skip
        for name in boot.unsigned:
            console.print(Text(f"! {name}: Secure Boot refuses its boot files; the release records "
                               "it (unsigned-boot)", style="yellow"))  # fmt: skip

    app.result(data, show)


def _boot_files(
    app: App, verified: Verified, key: Path | None, source: RecipeFile | None
) -> BootCheck:
    """Check boot files by the certificate that the recipe names; nothing without one."""
    path = verified.path
    if source is None or source.recipe.trust.secure_boot is None:
        return BootCheck()
    if not path.is_dir():
        for file in boot_check.beside(path):
            verify_release(file, key)
    toolbox = pipeline.pack_tools(source, store=app.store, ui=app.ui)
    with app.ui.step("check the signatures of its boot files"):
        return boot_check.check(
            path, source, authentic=verified.signer is not None, store=app.store, toolbox=toolbox
        )


def _source(recipe: Path | None, *, needed: bool) -> RecipeFile | None:
    """Who only verifies needs no project."""
    if recipe is None and not needed and not DEFAULT_RECIPE.exists():
        return None
    return options.load_recipe(recipe)


def _recipe_key(source: RecipeFile | None) -> Path | None:
    if source is None or source.recipe.release.key is None:
        return None
    key = source.locate(source.recipe.release.key)
    if not key.is_file():
        raise VerifyError(
            f"there is no public key {key}, which [release] key of {source.path} names",
            hint="write it: edgeimg genkey --export FILE, or gpg --armor --export NAME",
        )
    return key


def _rebuild(
    app: App, directory: Path, source: RecipeFile, work: Path | None, k3s: K3sChoice | None
) -> None:
    """Raises VerifyError when the release built again has other bytes."""
    with app.store.work("rebuild") if work is None else nullcontext(work) as place:
        again = make.rebuild(
            directory, source, work=place, k3s_file=k3s, store=app.store, ui=app.ui
        )
        with app.ui.step("compare every byte"):
            problem = difference.compare(again, directory)
    if problem is not None:
        raise VerifyError(
            f"{directory} is not what this recipe and lock make: {problem}",
            hint="check out the commit that it was made from, and use the same edgeimg; "
            "--work DIR keeps what was built",
        )


def _show_key(console: Console, key: Key, exported: Path | None) -> None:
    console.print(Text(f"{key.user_id}\n{key.fingerprint}", style="bold"), soft_wrap=True)
    if exported is not None:
        console.print(Text(f"public key: {exported}"), soft_wrap=True)
    console.print(Text("Keep a backup of the secret key: it exists only in gpg's home directory."))


def _show_verified(console: Console, verified: Verified, *, rebuilt: bool) -> None:
    for override in verified.overrides:
        console.print(Text(f"! allowed by name ({override.partition(':')[0]}):"
                           f"{override.partition(':')[2]}", style="yellow"))  # fmt: skip
    files = f"{verified.files} file{'s' if verified.files > 1 else ''}, {human(verified.size)}"
    if verified.signer is None:
        console.print(Text(f"! {verified.path}: {files} match their digests; to verify who "
                           "made them, name the public key with --key",
                           style="yellow"))  # fmt: skip
    else:
        console.print(Text(f"✓ {verified.path}: {files}", style="green"), soft_wrap=True)
        console.print(Text(f"signed by {verified.signer}"), soft_wrap=True)
        if verified.signer.expired:
            console.print(Text("! the key has expired since", style="yellow"))
    if rebuilt:
        console.print(Text("✓ built again: every byte is the same", style="green"))


COMMANDS: tuple[click.Command, ...] = (genkey, verify)
