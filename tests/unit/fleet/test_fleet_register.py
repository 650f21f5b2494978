"""edgeimg fleet register: targets and tokens at the roll-out server, and who provisions them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from edgeimg.cli import cli
from edgeimg.cli.answer import Answer
from edgeimg.errors import ProvisionError, RolloutError
from edgeimg.fleet import reading, rollout_tokens
from edgeimg.fleet.rollout_tokens import RolloutTokens

from tests.hawkbit import HawkBit, Target, serving

CSV = "hostname,rollout.site\n" + "".join(f"gw{number},north\n" for number in range(1, 4))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HawkBit]:
    with serving(monkeypatch) as started:
        yield started


@pytest.fixture
def fleet(tmp_path: Path) -> Path:
    path = tmp_path / "gateways.csv"
    path.write_text(CSV)
    return path


def register(fleet: Path, *more: str) -> dict[str, str]:
    """The result of each gateway."""
    answer = Answer()
    words = ["fleet", "register", str(fleet), *more, "--json"]
    cli.main(words, standalone_mode=False, obj=answer)
    parts: dict[str, Any] = answer._parts
    return {one["name"]: one["result"] for one in parts["gateways"]}


def test_a_row_with_its_own_token_is_not_registered(server: HawkBit, fleet: Path) -> None:
    (fleet.parent / "own.txt").write_text("own-token\n")
    fleet.write_text("hostname,rollout.token_file\ngw1,own.txt\n")
    with pytest.raises(ProvisionError, match=r"names rollout\.token_file of gw1"):
        register(fleet)
    assert not server.targets
    fleet.write_text(CSV)
    assert register(fleet) == everywhere("registered")


def test_two_gateways_do_not_share_a_token(fleet: Path) -> None:
    for name in ("one", "two"):
        (fleet.parent / f"{name}.txt").write_text(f"token-{name}\n")
    fleet.write_text("hostname,rollout.token_file\ngw1,one.txt\ngw2,two.txt\n")
    assert len(reading.load(fleet).gateways) == 2
    fleet.write_text("hostname,rollout.token_file\ngw1,one.txt\ngw2,one.txt\n")
    with pytest.raises(ProvisionError, match="is the token of gw1"):
        reading.load(fleet)


@pytest.mark.parametrize("token", ["a b", "ok\ngw9 evil", "x" * 129])
def test_a_token_of_the_server_that_the_agent_cannot_use_is_not_stored(
    server: HawkBit, fleet: Path, token: str
) -> None:
    server.targets["gw1"] = Target("gw1", token)
    with pytest.raises(RolloutError, match="tokens that the agent cannot use, of gateways: gw1"):
        register(fleet)
    assert not rollout_tokens.kept(fleet).exists()
    server.targets["gw1"].token = "fine"
    assert register(fleet)["gw1"] == "adopted"


def test_a_target_in_other_letters_is_an_error(server: HawkBit, fleet: Path) -> None:
    server.targets["GW1"] = Target("GW1", "fine")
    with pytest.raises(RolloutError, match="other letters: GW1"):
        register(fleet)
    assert list(server.targets) == ["GW1"]


def test_two_runs_take_turns(server: HawkBit, fleet: Path) -> None:
    with rollout_tokens.locked(fleet):
        script = f"from edgeimg.cli import cli; cli.main(['fleet', 'register', {str(fleet)!r}])"
        second = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(5)
        assert not server.targets
    assert second.wait(60) == 0
    assert len(server.targets) == 3


def test_what_a_killed_run_left_is_replaced(server: HawkBit, fleet: Path) -> None:
    left = fleet.parent / ".gateways.rollout.partial"
    left.write_text("gw1 half")
    assert register(fleet) == everywhere("registered")
    assert not left.exists()


def everywhere(result: str) -> dict[str, str]:
    return {f"gw{number}": result for number in range(1, 4)}


def test_each_gateway_gets_a_token_and_a_second_run_changes_nothing(
    server: HawkBit, fleet: Path
) -> None:
    assert register(fleet, "--dry-run") == everywhere("to register")
    assert not server.targets
    assert not rollout_tokens.kept(fleet).exists()
    assert register(fleet) == everywhere("registered")
    kept = rollout_tokens.kept(fleet)
    assert kept.stat().st_mode & 0o777 == 0o600
    stored = dict(line.split() for line in kept.read_text().splitlines())
    assert stored == {one.id: one.token for one in server.targets.values()}
    assert len({*stored.values()}) == 3
    before = kept.read_bytes(), dict(server.targets)
    assert register(fleet) == everywhere("exists")
    assert (kept.read_bytes(), dict(server.targets)) == before
    fleet.write_text(CSV + "gw4,north\n")
    assert register(fleet) == {**everywhere("exists"), "gw4": "registered"}
    assert server.targets["gw1"] == before[1]["gw1"]


def test_tokens_are_provisioned_and_never_printed(
    server: HawkBit, fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ProvisionError) as refused:
        reading.load(fleet, rollout=RolloutTokens(by_name=rollout_tokens.read(fleet)))
    assert "gateways.csv:2: rollout.token_file: is missing" in str(refused.value)
    assert "fleet register" in (refused.value.hint or "")
    for words in ([], ["--json"]):
        cli.main(["fleet", "register", str(fleet), *words], standalone_mode=False, obj=Answer())
    loaded = reading.load(fleet, rollout=RolloutTokens(by_name=rollout_tokens.read(fleet)))
    shown = "".join(capsys.readouterr())
    for gateway in loaded.gateways:
        token = server.targets[gateway.name].token
        assert gateway.files()["edgeimg/rollout.conf"] == f"SITE=north\nTOKEN={token}\n".encode()
        assert token not in shown + repr(gateway) + str(reading.summary(loaded))


def test_an_interrupted_run_goes_on_with_the_stored_tokens(server: HawkBit, fleet: Path) -> None:
    server.answers["POST /rest/v1/targets"] = 500, b"{}"
    with pytest.raises(RolloutError):
        register(fleet)
    kept = rollout_tokens.kept(fleet).read_bytes()
    assert not server.targets
    server.answers.clear()
    assert register(fleet) == everywhere("registered")
    assert rollout_tokens.kept(fleet).read_bytes() == kept
    assert server.targets["gw2"].token.encode() in kept


def test_targets_of_the_server_are_adopted_and_never_changed(server: HawkBit, fleet: Path) -> None:
    server.targets["gw2"] = Target("gw2", "theirs")
    server.shows_tokens = False
    with pytest.raises(RolloutError, match="gw2"):
        register(fleet)
    assert list(server.targets) == ["gw2"]
    server.shows_tokens = True
    assert register(fleet) == {**everywhere("registered"), "gw2": "adopted"}
    assert rollout_tokens.read(fleet)["gw2"].get_secret_value() == "theirs"
    server.targets["gw3"] = Target("gw3", "another")
    with pytest.raises(RolloutError, match="gw3") as refused:
        register(fleet)
    assert "another" not in str(refused.value).replace("another token", "")
    assert server.targets["gw3"].token == "another"


def test_only_some_gateways(server: HawkBit, fleet: Path) -> None:
    assert register(fleet, "--only", "gw2") == {"gw2": "registered"}
    assert list(server.targets) == ["gw2"]
    assert register(fleet) == {**everywhere("registered"), "gw2": "exists"}


@pytest.mark.parametrize(
    "content", ["gw1\n", "gw1 a b\n", "gw1 a\ngw1 b\n", "gw1 a*\n", "gw1 \xff"]
)
def test_a_damaged_file_of_tokens_is_refused(fleet: Path, content: str) -> None:
    kept = rollout_tokens.kept(fleet)
    kept.touch(mode=0o600)
    kept.write_text("gw1 a\ngw2 b\n")
    assert sorted(rollout_tokens.read(fleet)) == ["gw1", "gw2"]
    kept.write_bytes(content.encode("latin-1"))
    with pytest.raises(ProvisionError):
        rollout_tokens.read(fleet)


def test_tokens_that_others_can_read_are_refused(fleet: Path) -> None:
    kept = rollout_tokens.kept(fleet)
    kept.write_text("gw1 a\n")
    kept.chmod(0o640)
    with pytest.raises(ProvisionError, match="others can read"):
        rollout_tokens.read(fleet)
    kept.chmod(0o600)
    assert list(rollout_tokens.read(fleet)) == ["gw1"]
