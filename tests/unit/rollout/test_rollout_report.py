"""edgeimg rollout report: one HTML file of what the server knows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import html5lib
import pytest
from edgeimg.cli import cli
from edgeimg.cli.answer import Answer
from edgeimg.report.rollout import RolloutFacts, curve, rollout_page, sites

from tests.hawkbit import HawkBit, serving
from tests.rollout_facts import HOSTILE, facts, hostile

STEPS = "[[group]]\nname = 'all'\npercent = 100\nfailures = 50\n"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HawkBit]:
    with serving(monkeypatch) as started:
        yield started


def parsed(text: str) -> Any:
    """The document. html5lib in strict mode raises at the first error of the HTML standard."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)


def text_of(document: Any) -> str:
    return " ".join(" ".join(document.find("body").itertext()).split())


def run(*words: object) -> None:
    cli.main(["rollout", *map(str, words), "--json"], standalone_mode=False, obj=Answer())


def test_a_report_has_what_the_server_knows(server: HawkBit, tmp_path: Path) -> None:
    common = {"image": "gw", "role": "server", "ha": "no"}
    for number in range(1, 6):
        server.add(f"gw{number}", site="north" if number < 4 else "south", **common)
    server.add("gw6", **common)
    server.add("gw7", site=HOSTILE, **common)
    server.order("gw1", "1.1.0")
    server.forget_orders()
    server.sets[1]["name"] = "gw"
    steps, output = tmp_path / "steps.toml", tmp_path / "rollout.html"
    steps.write_text(STEPS)
    run("start", "gw", "1.1.0", "--steps", steps)
    for action in server.actions.values():
        good = {"execution": "closed", "result": {"finished": "success"}}
        bad = {"execution": "closed", "result": {"finished": "failure"}, "code": 20,
               "details": ["it did not start"]}  # fmt: skip
        if action.target != "gw2":
            server._feedback(action, {"status": bad if action.target == "gw4" else good})
    server.targets["gw2"].seen = 1_700_000_000_000
    before = len(server.requests)
    run("report", "gw 1.1.0", "-o", output)
    assert len(server.requests) - before < 20
    document = parsed(output.read_text())
    shown = text_of(document)
    assert "Of 7 gateways: 5 updated, 1 failed, 1 on their way, 0 not reached." in shown
    assert "1 failed, code 20: the version did not start it did not start Gateways gw4" in shown
    assert "gw2 north 2023-11-14 22:13 UTC" in shown
    rows = [[" ".join(cell.itertext()) for cell in row][:5]
            for row in document.find(".//section[@id='sites']").iter("tr")]  # fmt: skip
    assert sorted(rows[1:]) == sorted([
        ["south", "2", "1", "1", "0"], ["north", "3", "2", "0", "1"],
        [HOSTILE, "1", "1", "0", "0"], ["without a site", "1", "1", "0", "0"],
    ])  # fmt: skip


@pytest.mark.parametrize(
    "shown",
    [facts(), hostile(), facts(gateways=(), groups=(), reasons=(), began=None)],
    ids=["usual", "hostile", "empty"],
)
def test_every_report_is_valid_and_calls_nobody(shown: RolloutFacts) -> None:
    text = rollout_page(shown)
    document = parsed(text)
    ids = [element.get("id") for element in document.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert {link.get("href").removeprefix("#") for link in document.iter("a")} <= set(ids)
    assert {e.get("aria-labelledby") for e in document.iter("section")} <= set(ids)
    assert not {e.tag for e in document.iter()} & {"script", "link", "img", "iframe", "object"}
    assert "url(" not in text
    policy = next(m for m in document.iter("meta") if m.get("http-equiv"))
    assert policy.get("content").startswith("default-src 'none'")


def test_text_of_others_stays_text() -> None:
    """Names, sites, codes' texts and reasons come from gateways and from the server."""
    text = rollout_page(hostile())
    assert HOSTILE not in text
    assert text_of(parsed(text)).count(HOSTILE) >= 9


def test_the_curve_ends_with_the_counts() -> None:
    """Of ten gateways, seven run the version and one failed: lines end at 70 % and 10 %."""
    found = curve(facts(), 10)
    assert found is not None
    assert found.updated.split()[0] == found.failed.split()[0] == "0,100"
    assert found.updated.split()[-1] == "100,30"
    assert found.failed.split()[-1] == "100,90"
    assert [one.name for one in sites(facts())] == ["south", "north"]
