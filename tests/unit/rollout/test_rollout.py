"""The desk's side of a roll-out, against a server with hawkBit's layout."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from pathlib import Path
from typing import Any

import click
import pytest
from edgeimg.cli import cli
from edgeimg.cli.answer import Answer
from edgeimg.compose import rollout
from edgeimg.errors import EdgeimgError, FetchError, RecipeError, RolloutError
from edgeimg.fetch.api import Api
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.rollout import Rollout
from edgeimg.rollout import plan
from edgeimg.rollout.plan import Member, Population
from edgeimg.rollout.server import Server
from edgeimg.rollout.steps import read_steps
from edgeimg.tree import Tree, file
from pydantic import ValidationError

from tests.hawkbit import PASSWORD, HawkBit
from tests.rollout_desk import STEPS, fleet, run
from tests.rollout_device import Device


def test_from_a_release_to_a_gateway_that_runs_it(
    server: HawkBit, steps: Path, release: tuple[Path, str], tmp_path: Path
) -> None:
    """Publish, start, the gateway takes the version and reports, status."""
    path, url = release
    fleet(server, singles=1, agents=1)
    device = Device(tmp_path / "gw1")
    device.provision(server.url, "token-gw1")
    sums = hashlib.sha256((path / "SHA256SUMS").read_bytes()).hexdigest()
    published = run("publish", path, "--url", url)
    assert (published["version"], published["sums"]) == ("1.1.0", sums)
    assert run("publish", path, "--url", url)["id"] == published["id"]
    started = run("start", "gw", "1.1.0", "--steps", steps)
    assert [one["name"] for one in started["groups"]] == ["canary, servers", "canary, agents"]
    device.poll()
    assert device.reboots() == 1
    assert "--definitions=" in (device.directory / "installed").read_text()
    device.start("1.1.0")
    device.poll()
    state = run("status", "gw 1.1.0")
    assert state["status"] == "running"
    assert [(one["status"], one["succeeded"]) for one in state["groups"]] == [
        ("running", 1), ("running", 0),
    ]  # fmt: skip
    assert [one.target for one in server.actions.values()] == ["gw1", "agent1"]


def test_servers_before_agents_and_one_server_of_a_cluster_at_a_time(
    server: HawkBit, steps: Path
) -> None:
    fleet(server, singles=5, agents=3)
    for cluster in "ab":
        for number in (1, 2, 3):
            attributes = {"image": "gw", "role": "server", "ha": "yes", "cluster": cluster}
            server.add(f"{cluster}{number}", **attributes)
    server.add("other", image="another", role="server", ha="no")
    server.add("old", image="gw")
    server.order("gw1", "1.1.0")
    server.forget_orders()
    server.sets[1]["name"] = "gw"
    planned = run("start", "gw", "1.1.0", "--steps", steps, "--dry-run")["groups"]
    assert server.rollouts == {}
    started = run("start", "gw", "1.1.0", "--steps", steps)["groups"]
    assert started == planned
    groups = server.rollouts[1]["groups"]
    found = {one["name"]: sorted(one["targets"]) for one in groups}
    assert found == {
        "canary, servers": ["gw1"], "half, servers": ["gw2", "gw3"],
        "rest, servers": ["gw4", "gw5"],
        "server 1 of each cluster": ["a1", "b1"], "server 2 of each cluster": ["a2", "b2"],
        "server 3 of each cluster": ["a3", "b3"],
        "canary, agents": ["agent1"], "half, agents": ["agent2"], "rest, agents": ["agent3"],
    }  # fmt: skip
    assert [one["gateways"] for one in started] == [len(one["targets"]) for one in groups]
    assert groups[1]["errorCondition"]["expression"] == "10"
    assert groups[1]["successCondition"]["expression"] == "90"


def member(name: str, cluster: str = "", *, several: bool = True) -> Member:
    return Member(name=name, role="server", cluster=cluster, several=several)


def test_two_servers_of_a_cluster_are_not_named_in_one_group(tmp_path: Path) -> None:
    path = tmp_path / "steps.toml"
    path.write_text(STEPS.replace('"agent1"', '"gw2"'))
    steps = read_steps(path)
    apart = {"gw1": member("gw1", "a"), "gw2": member("gw2", "b")}
    people = Population(singles=0, agents=0, several=tuple(apart.values()), named=apart)
    assert [one.gateways for one in plan.plan(steps, people)] == [2]
    together = {"gw1": member("gw1", "a"), "gw2": member("gw2", "a")}
    people = Population(singles=0, agents=0, several=tuple(together.values()), named=together)
    with pytest.raises(RolloutError, match="gw1, gw2"):
        plan.plan(steps, people)


def test_servers_of_an_unknown_cluster_are_apart_and_long_lists_are_split(steps: Path) -> None:
    read = read_steps(steps)
    several = tuple(member(f"x{number}") for number in range(3))
    people = Population(singles=0, agents=0, several=several, named={})
    empty = read.model_copy(update={"group": read.group[1:]})
    assert [one.gateways for one in plan.plan(empty, people)] == [1, 1, 1]
    several = tuple(member("n" * 60 + f"{number:03}", f"c{number}") for number in range(100))
    people = Population(singles=0, agents=0, several=several, named={})
    groups = plan.plan(empty, people)
    assert sum(one.gateways for one in groups) == 100
    assert len(groups) > 1
    assert max(len(one.query) for one in groups) < 2100
    with pytest.raises(RolloutError, match="no gateway fits"):
        plan.plan(empty, Population(singles=0, agents=0, several=(), named={}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "group"),
        ('[[group]]\nname = "a"\n', "either gateways or percent"),
        ('[[group]]\nname = "a"\npercent = 50\n', "percent = 100"),
        ('[[group]]\nname = "a"\npercent = 100\nsucces = 5\n', "success"),
        ('[[group]]\nname = "a"\npercent = 100\nsuccess = 99\nfailures = 2\n', "more than 100"),
        (STEPS.replace('"agent1"', '"gw1"'), "in two groups"),
        (STEPS.replace('"half"', '"canary"'), "same name"),
        ('only = ["attribute.site==a;x"]\n' + STEPS, "only"),
        ("group = 1", "group"),
        ("[", "not TOML"),
    ],
)
def test_odd_steps_are_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "steps.toml"
    path.write_text(text)
    with pytest.raises(RolloutError, match=said) as raised:
        read_steps(path)
    assert str(path) in raised.value.message


def begun(server: HawkBit, steps: Path) -> None:
    fleet(server, singles=4, agents=1)
    server.order("gw1", "1.1.0")
    server.forget_orders()
    server.sets[1]["name"] = "gw"
    run("start", "gw", "1.1.0", "--steps", steps)


def report(server: HawkBit, target: str, *, code: int | None = None, text: str = "") -> None:
    """What the gateway reports in the end."""
    action = next(a for a in server.actions.values() if a.target == target and a.is_open)
    status = {"execution": "closed", "result": {"finished": "failure" if code else "success"}}
    more = {"code": code, "details": [text]} if code else {}
    server._feedback(action, {"status": status | more})


def test_failures_pause_a_rollout_and_are_grouped_by_their_reason(
    server: HawkBit, steps: Path
) -> None:
    begun(server, steps)
    assert run("status", "gw 1.1.0")["failed"] is False
    report(server, "gw1", code=21, text="K3s is activating 900 s after the start")
    answer = Answer()
    with pytest.raises(RolloutError, match="too many") as raised:
        cli.main(["rollout", "status", "gw 1.1.0", "--json"], standalone_mode=False, obj=answer)
    assert raised.value.exit_code == 22
    state = answer._parts
    (reason,) = state["reasons"]  # type: ignore[misc]
    assert (reason["code"], reason["gateways"]) == (21, ("gw1",))
    assert reason["example"] == ("K3s is activating 900 s after the start",)
    assert state["status"] == "paused"
    run("resume", "gw 1.1.0")
    assert run("status", "gw 1.1.0")["status"] == "running"
    # Of the three that the canary left, half: the server rounds 1.5 to 2.
    assert [a.target for a in server.actions.values()] == ["gw1", "gw2", "gw3"]
    run("pause", "gw 1.1.0")
    assert server.rollouts[1]["status"] == "paused"
    assert run("status", "gw 1.1.0")["failed"] is False  # the group that failed is left behind
    with pytest.raises(RolloutError, match="no roll-out"):
        run("stop", "gw *")
    run("stop", "gw 1.1.0")
    assert run("status", "gw 1.1.0", "--wait", "1")["status"] == "finished"


def test_silent_gateways(server: HawkBit, steps: Path) -> None:
    begun(server, steps)
    assert run("status", "gw 1.1.0")["silent"] == ()
    server.targets["gw1"].seen -= 3_700_000
    server.targets["gw4"].seen = 0  # silent, but without an order
    server.add("other", image="another", role="server", ha="no")
    server._assign("other", 1, {})
    server.targets["other"].seen -= 3_700_000  # an order of another roll-out
    assert run("status", "gw 1.1.0")["silent"] == ("gw1",)
    assert run("status", "gw 1.1.0", "--silent", "120")["silent"] == ()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("start", "gw", "9.9.9", "--steps", "STEPS"), "knows no gw 9.9.9"),
        (("status", "nothing"), "has no roll-out 'nothing'"),
    ],
)
def test_what_the_server_does_not_know(
    server: HawkBit, steps: Path, words: tuple[str, ...], said: str
) -> None:
    fleet(server)
    with pytest.raises(RolloutError, match=said):
        run(*(str(steps) if word == "STEPS" else word for word in words))


def test_a_gateway_of_another_image_is_not_named(server: HawkBit, steps: Path) -> None:
    fleet(server)
    server.targets["agent1"].attributes["image"] = "another"
    with pytest.raises(RolloutError, match="of this name: agent1"):
        run("start", "gw", "1.1.0", "--steps", steps)


def test_gateways_are_looked_up_many_at_a_time(server: HawkBit, tmp_path: Path) -> None:
    """A file of steps with 600 names is a few requests, and each name is found."""
    fleet(server, singles=400, agents=200)
    server.order("gw1", "1.1.0")
    server.forget_orders()
    server.sets[1]["name"] = "gw"
    names = json.dumps(list(server.targets))
    steps = tmp_path / "steps.toml"
    group = "[[group]]\nname = 'all'\ngateways = {}\n[[group]]\nname = 'rest'\npercent = 100\n"
    steps.write_text(group.format(names))
    server.requests.clear()
    planned = run("start", "gw", "1.1.0", "--steps", steps, "--dry-run")["groups"]
    assert {one["name"].partition(" (")[0] for one in planned} == {"all, servers", "all, agents"}
    assert sum(one["gateways"] for one in planned) == 600
    assert len(server.requests) < 20
    steps.write_text(group.format(names.replace('"gw7"', '"gw7000"')))
    with pytest.raises(RolloutError, match=r"gateway with gw of this name: gw7000$"):
        run("start", "gw", "1.1.0", "--steps", steps, "--dry-run")


def test_a_named_gateway_must_fit_only(server: HawkBit, steps: Path) -> None:
    fleet(server)
    steps.write_text('only = ["attribute.site==north"]\n' + steps.read_text())
    for name in ("gw1", "gw2", "agent2"):
        server.targets[name].attributes["site"] = "north"
    with pytest.raises(RolloutError, match="that fits only: agent1"):
        run("start", "gw", "1.1.0", "--steps", steps, "--dry-run")
    server.targets["agent1"].attributes["site"] = "north"
    groups = run("start", "gw", "1.1.0", "--steps", steps, "--dry-run")["groups"]
    assert sum(one["gateways"] for one in groups) == 4


@pytest.mark.parametrize(
    "words", [("status", "x", "--server", "URL"), ("publish", "/", "--url", "URL")]
)
def test_an_address_has_no_password(words: tuple[str, ...], server: HawkBit) -> None:
    secret = "https://desk:secret@r.example"
    with pytest.raises(click.BadParameter, match="without a name") as raised:
        run(*(secret if word == "URL" else word for word in words))
    assert "secret" not in str(raised.value)
    assert server.requests == []


def test_names_are_no_markup(
    server: HawkBit, steps: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun(server, steps)
    server.rollouts[1]["name"] = "gw [/x] [red]"
    cli.main(["rollout", "pause", "gw [/x] [red]"], standalone_mode=False, obj=Answer())
    assert capsys.readouterr().out == "gw [/x] [red]: paused\n"


def test_a_release_is_published_once_and_as_it_is(
    server: HawkBit, release: tuple[Path, str]
) -> None:
    path, url = release
    run("publish", path, "--url", url)
    with pytest.raises(RolloutError, match="another url"):
        run("publish", path, "--url", f"{url}/.")
    (path / "release.json").write_text((path / "release.json").read_text().replace("1.1.0", "1~2"))
    with pytest.raises(RolloutError, match="systemd-sysupdate"):
        run("publish", path, "--url", url)


def test_what_is_served_has_to_be_the_release(
    server: HawkBit, release: tuple[Path, str], tmp_path: Path
) -> None:
    path, url = release
    other = tmp_path / "other"
    other.mkdir()
    (other / "release.json").write_bytes((path / "release.json").read_bytes())
    (other / "SHA256SUMS").write_text(f"{'1' * 64}  gw_1.1.0_arm64.efi\n")
    with pytest.raises(RolloutError, match="is not the one of"):
        run("publish", other, "--url", url)
    assert server.modules == {}


@pytest.mark.parametrize(
    ("status", "body", "error", "said"),
    [
        (401, b"{}", RolloutError, "refuses the name or the password"),
        (302, b"", RolloutError, "302"),
        (400, b'{"message": "no way"}', RolloutError, "400: no way"),
        (200, b"<html>", RolloutError, "not JSON"),
        (200, b"[]", RolloutError, "an object is expected"),
        (200, b"{}", RolloutError, "no list 'content'"),
        (200, b'{"content": [1], "total": 1}', RolloutError, "an object is expected"),
        (200, b'{"content": [], "total": 1}', RolloutError, "has no roll-out"),
        (200, b'{"content": [{}], "total": "x"}', RolloutError, "'total' is no number"),
        (200, b" " * ((16 << 20) + 1), FetchError, "more than"),
    ],
)
def test_answers_that_are_not_expected(
    server: HawkBit, status: int, body: bytes, error: type[EdgeimgError], said: str
) -> None:
    server.answers["GET /rest/v1/rollouts"] = (status, body)
    with pytest.raises(error, match=said):
        run("status", "x")


def test_a_get_is_repeated_and_a_change_is_not(
    server: HawkBit, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("edgeimg.fetch.api.time.sleep", pauses.append)
    api = Api(server.url, "a", "b")
    server.answers["GET /x"] = server.answers["POST /x"] = (503, b"")
    for method in ("GET", "POST"):
        assert api.call(method, "/x", body=b"{}").status == 503
    assert [method for method, _ in server.requests] == ["GET"] * 4 + ["POST"]
    assert pauses == [0.5, 1.0, 2.0]
    api.close()


def test_lists_are_read_page_by_page(server: HawkBit) -> None:
    server.add(*(f"gw{number:04}" for number in range(1100)))
    user, _, password = PASSWORD.partition(":")
    api = Api(server.url, user, password)
    assert len(list(Server(api).entries("/targets"))) == 1100
    assert Server(api).count("/targets", "controllerId==gw0001") == 1
    assert len(server.requests) == 4
    api.close()


def test_the_password_is_needed(server: HawkBit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEIMG_ROLLOUT_PASSWORD")
    with pytest.raises(RolloutError, match="a name and a password"):
        run("status", "x")
    monkeypatch.delenv("EDGEIMG_ROLLOUT_SERVER")
    with pytest.raises(click.UsageError, match="name the server"):
        run("status", "x")
    with pytest.raises(click.BadParameter, match="begins with"):
        run("status", "x", "--server", "ftp://x")


UPDATE = {"url": "https://x.example", "key": "k"}


def test_a_recipe_without_a_rollout_is_what_it_was() -> None:
    plain, asked = Recipe(), Recipe.model_validate({"update": UPDATE, "rollout": {}})
    assert list(rollout.compose(plain.rollout).items()) == []
    assert "rollout" not in plain.model_dump_json(exclude_none=True)
    without = Recipe.model_validate({"update": UPDATE})
    assert asked.digest() != without.digest()


def test_what_a_rollout_puts_into_the_root() -> None:
    made = rollout.compose(Rollout(server="https://r.example:8443/x", tenant="t", poll=9))
    assert made[rollout.SETTINGS].read() == b"SERVER=https://r.example:8443/x\nTENANT=t\n"
    (timer,) = [node.read() for path, node in made.items() if path.endswith("poll.conf")]
    assert timer.endswith(b"OnUnitInactiveSec=9min\n")
    assert rollout.compose(Rollout())[rollout.SETTINGS].read() == b"TENANT=default\n"


def test_the_agent_and_its_settings_go_together() -> None:
    agent = Tree().with_nodes({path: file(b"") for path in rollout._PROGRAMS})
    rollout.require_programs(agent, Rollout())
    rollout.require_programs(Tree(), None)
    with pytest.raises(RecipeError, match=r"lacks usr/lib/edgeimg/rollout"):
        rollout.require_programs(Tree(), Rollout())
    with pytest.raises(RecipeError, match=r"no \[rollout\]"):
        rollout.require_programs(agent, None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"rollout": {}}, "needs .update."),
        ({"rollout": {}, "update": {**UPDATE, "schedule": "daily"}}, "only one can decide"),
        ({"rollout": {"server": "https://a b"}, "update": UPDATE}, "pattern"),
        ({"rollout": {"server": 'https://a"'}, "update": UPDATE}, "pattern"),
        ({"rollout": {"tenant": "a/b"}, "update": UPDATE}, "pattern"),
        ({"rollout": {"poll": 0}, "update": UPDATE}, "poll"),
    ],
)
def test_an_odd_rollout_of_a_recipe_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Recipe.model_validate(given)


@pytest.mark.skipif(
    "EDGEIMG_TEST_HAWKBIT" not in os.environ,
    reason="asked for with EDGEIMG_TEST_HAWKBIT=URL, EDGEIMG_ROLLOUT_USER and _PASSWORD",
)
def test_a_real_hawkbit(
    monkeypatch: pytest.MonkeyPatch, release: tuple[Path, str], tmp_path: Path
) -> None:
    """The desk and the agent against hawkBit itself, tenant DEFAULT."""
    address = os.environ["EDGEIMG_TEST_HAWKBIT"]
    monkeypatch.setenv("EDGEIMG_ROLLOUT_SERVER", address)
    name = f"gw{os.getpid()}"
    image = f"gw-{os.getpid()}"
    path, url = release
    facts = (path / "release.json").read_text().replace('"gw"', f'"{image}"')
    (path / "release.json").write_text(facts)
    api = Api(address, os.environ["EDGEIMG_ROLLOUT_USER"], os.environ["EDGEIMG_ROLLOUT_PASSWORD"])
    server = Server(api)
    key = "authentication.targettoken.enabled"
    body = b'{"value": true}'
    assert api.call("PUT", f"/rest/v1/system/configs/{key}", body=body).status < 300
    server.post("/targets", [{"controllerId": name, "name": name, "securityToken": f"t-{name}"}])
    device = Device(tmp_path / name, name=name)
    device.provision(address, f"t-{name}")
    device.image(image)
    device.poll()
    assert device.problem() == ""
    run("publish", path, "--url", url)
    steps = tmp_path / "steps.toml"
    steps.write_text('[[group]]\nname = "rest"\npercent = 100\n')
    run("start", image, "1.1.0", "--steps", steps)
    for _ in range(60):
        device.poll()
        if device.reboots():
            break
        threading.Event().wait(2)
    device.start("1.1.0")
    device.poll()
    assert run("status", f"{image} 1.1.0", "--wait", "3")["status"] == "finished"
    api.close()
