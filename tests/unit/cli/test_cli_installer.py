"""edgeimg installer: what is refused before anything is built."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from edgeimg.build import pipeline
from edgeimg.cli import cli
from edgeimg.cli.answer import Answer
from edgeimg.errors import EdgeimgError, HostError, ImageError, ProvisionError

from tests.unit.flash.test_flash import image

RULES = 'image = "images"\n[disk]\nonly_internal = true\n'


class BuildError(Exception):
    """The image would be built now."""


@pytest.fixture(autouse=True)
def nothing_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    def build(*_: object, **__: object) -> None:
        raise BuildError

    monkeypatch.setattr(pipeline, "build", build)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """An image with its block map."""
    return image(tmp_path)[0]


def run(*arguments: object, output: Path) -> tuple[int, str, BaseException | None]:
    done = CliRunner().invoke(
        cli, ["installer", "-a", "x86-64", *map(str, arguments), "-o", str(output)], obj=Answer()
    )
    return done.exit_code, done.output, done.exception


def test_it_is_built_when_nothing_speaks_against_it(packed: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    fleet = tmp_path / "site.csv"
    fleet.write_text("hostname,serial\nbox-1,S1\n")
    for more in ([], ["--image", packed], ["--image", packed, "--rules", rules, "--fleet", fleet]):
        _, _, error = run(*more, output=tmp_path / "stick.raw")
        assert isinstance(error, BuildError), error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-a", "arm"], "there is no installer for arm"),
        (["--defaults", "all.toml"], "add --fleet"),
    ],
)
def test_wrong_options(tmp_path: Path, arguments: list[str], message: str) -> None:
    code, said, _ = run(*arguments, output=tmp_path / "stick.raw")
    assert (code, message in said) == (2, True), said


def error_of(*arguments: object, output: Path) -> EdgeimgError:
    _, _, error = run(*arguments, output=output)
    assert isinstance(error, EdgeimgError), error
    return error


def test_outputs_that_are_refused(tmp_path: Path) -> None:
    (tmp_path / "there.raw").write_text("of somebody")
    error = error_of(output=tmp_path / "there.raw")
    assert isinstance(error, HostError) and "is there already" in error.message
    assert (tmp_path / "there.raw").read_text() == "of somebody"
    error = error_of(output=tmp_path / "stick.img")
    assert isinstance(error, ImageError) and "stick.img" in error.message


def test_rules_that_do_not_fit_the_stick(packed: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(RULES)
    error = error_of("--rules", rules, output=tmp_path / "stick.raw")
    assert isinstance(error, ProvisionError) and "images has no image" in error.message
    rules.write_text(RULES.replace('images"', 'images"\nfleet = "site.csv"'))
    error = error_of("--image", packed, "--rules", rules, output=tmp_path / "stick.raw")
    assert isinstance(error, ProvisionError) and "the stick has no site.csv" in error.message


def test_a_fleet_that_names_a_file_of_the_desk(packed: Path, tmp_path: Path) -> None:
    fleet, token = tmp_path / "site.toml", tmp_path / "join.txt"
    fleet.write_text(
        '[[gateway]]\nhostname = "box-1"\n[gateway.k3s]\nrole = "agent"\n'
        'server = "https://10.0.0.1:6443"\ntoken_file = "join.txt"\n'
    )
    token.write_text("0123456789abcdef\n")
    error = error_of("--image", packed, "--fleet", fleet, output=tmp_path / "stick.raw")
    assert isinstance(error, ProvisionError) and f"{fleet}:" in error.message
    assert "cannot be read" in error.message


def test_a_secret_that_is_not_on_the_stick(packed: Path, tmp_path: Path) -> None:
    rules, fleet = tmp_path / "rules.toml", tmp_path / "site.toml"
    rules.write_text(RULES.replace('images"', 'images"\nfleet = "fleet.toml"'))
    fleet.write_text(
        '[[gateway]]\nhostname = "box-1"\n[gateway.k3s]\nrole = "server"\n'
        '[[gateway]]\nhostname = "box-2"\n[gateway.k3s]\nrole = "agent"\n'
        'server = "https://10.0.0.1:6443"\n'
    )
    attended = ("--image", packed, "--fleet", fleet)
    unattended = (*attended, "--rules", rules)
    asked = "will be asked for: token of the cluster"
    _, said, error = run(*attended, output=tmp_path / "stick.raw")
    assert isinstance(error, BuildError) and asked in said
    refused = error_of(*unattended, output=tmp_path / "stick.raw")
    assert isinstance(refused, ProvisionError) and f"{fleet}" in refused.message
    assert "token" in refused.message
    token = tmp_path / "site.token"
    token.write_text("0123456789abcdef\n")
    token.chmod(0o600)
    for arguments in (attended, unattended):
        _, said, error = run(*arguments, output=tmp_path / "stick.raw")
        assert isinstance(error, BuildError) and asked not in said


def test_an_image_that_is_damaged(packed: Path, tmp_path: Path) -> None:
    (packed.parent / "SHA256SUMS").write_text(f"{'0' * 64}  {packed.name}\n")
    error = error_of("--image", packed, output=tmp_path / "stick.raw")
    assert error.exit_code == 16
