"""The page in a real browser, as readers use it: by pointer, by keyboard, on a telephone, in the
dark, and without its script.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from edgeimg.report import ReportFacts, page
from edgeimg.report.rollout import RolloutFacts, rollout_page
from playwright.sync_api import Browser, ConsoleMessage, Error, Page, expect, sync_playwright

from tests import rollout_facts
from tests.release_facts import hostile, image, manifest, release

CHROMIUM = os.environ.get("EDGEIMG_CHROMIUM") or next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
pytestmark = pytest.mark.skipif(
    not CHROMIUM, reason="no Chromium: apt-get install chromium, or set EDGEIMG_CHROMIUM"
)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
Show = Callable[..., Page]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """Opens a report; at the end nothing may have been requested, and nothing complained."""
    wrong: list[str] = []
    contexts = []

    def console(message: ConsoleMessage) -> None:
        wrong.append(f"{message.type}: {message.text}")

    def error(error: Error) -> None:
        wrong.append(str(error))

    def show(facts: ReportFacts | RolloutFacts, *, width: int = 1400, **options: Any) -> Page:
        path = tmp_path / "report.html"
        made = rollout_page(facts) if isinstance(facts, RolloutFacts) else page(facts)
        path.write_text(made, encoding="utf-8")
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        tab = context.new_page()
        tab.on("console", console)
        tab.on("pageerror", error)
        tab.on("request", lambda r: None if r.url == path.as_uri() else wrong.append(r.url))
        tab.goto(path.as_uri())
        return tab

    yield show
    for context in contexts:
        context.close()
    assert wrong == []


def crumbs(tab: Page) -> list[str]:
    return tab.locator(".crumbs li").all_inner_texts()


def test_the_treemap_opens_down_to_files_and_back(show: Show) -> None:
    tab = show(release())
    tab.locator(".treemap .head", has_text="Debian packages").click()
    assert crumbs(tab) == ["Root", "Debian packages"]
    tab.get_by_role("button", name="systemd 6.0 MiB, 3.2 % of the root, version 257.1-1").click()
    assert crumbs(tab) == ["Root", "Debian packages", "systemd"]
    expect(tab.locator(".ranking .entry .name")).to_have_text(
        ["lib/systemd/systemd", "bin/systemctl"]
    )
    tab.get_by_role("button", name="lib/systemd/systemd 5.0 MiB").click()
    expect(tab.locator(".told")).to_have_text("lib/systemd/systemd 5.0 MiB, 2.7 % of the root")
    tab.locator(".crumbs").get_by_role("button", name="Root").click()
    assert crumbs(tab) == ["Root"]


def test_areas_are_in_proportion_to_sizes(show: Show) -> None:
    tab = show(release(image()))
    tab.locator(".treemap .head", has_text="Kernel modules").click()
    areas = {
        name.split()[0]: box["width"] * box["height"]
        for cell in tab.locator(".treemap .cell").all()
        if (box := cell.bounding_box()) and (name := cell.get_attribute("aria-label"))
    }
    assert areas.keys() == {"net/wifi.ko", "fs/erofs.ko"}
    assert areas["net/wifi.ko"] / areas["fs/erofs.ko"] == pytest.approx(2, rel=0.03)


def test_the_treemap_by_keyboard_alone(show: Show) -> None:
    tab = show(release())
    tab.locator(".switch button").last.focus()
    tab.keyboard.press("Tab")
    focused = tab.locator(":focus")
    name = "K3s 150.0 MiB, 80.2 % of the root, version v1.35.0+k3s1"
    expect(focused).to_have_attribute("aria-label", f"{name}, open")
    expect(tab.locator(".told")).to_have_text(name)
    tab.keyboard.press("ArrowRight")
    expect(tab.locator(".told")).to_contain_text("Kernel modules")
    tab.keyboard.press("Enter")
    assert crumbs(tab) == ["Root", "Kernel modules"]
    expect(focused).to_have_class("cell leaf kernel")
    tab.keyboard.press("Escape")
    assert crumbs(tab) == ["Root"]
    assert tab.locator(".treemap button[tabindex='0']").count() == 1


def test_each_architecture_has_its_tree(show: Show) -> None:
    arm = manifest("arm", components={"k3s": 10 << 20}, files={})
    tab = show(release(image(), image("arm", manifest=arm)))
    tab.locator(".switch").get_by_role("button", name="arm", exact=True).click()
    expect(tab.locator(".told")).to_have_text("arm 10.0 MiB in the root")
    expect(tab.locator(".switch [aria-pressed=true]")).to_have_text("arm")
    expect(tab.locator(".treemap .cell")).to_have_count(1)


def test_what_is_too_small_to_hit_is_gathered(show: Show) -> None:
    components = {"package:big": 20 << 20, **{f"package:p{n}": 20_000 + n for n in range(40)}}
    tab = show(release(image(manifest=manifest("x86-64", components=components, files={}))))
    expect(tab.locator(".treemap .cell .name")).to_have_text(
        ["Debian packages", "big", "40 smaller"]
    )
    tab.locator(".treemap .cell", has_text="40 smaller").click()
    expect(tab.locator(".treemap .cell")).to_have_count(40)
    expect(tab.locator(".ranking .entry")).to_have_count(12)


def test_the_search_finds_by_every_word_and_by_kind(show: Show) -> None:
    tab = show(release())
    visible = tab.locator("#sbom tbody tr:visible")
    output = tab.locator("#search output")
    expect(output).to_have_text("2 components")
    tab.get_by_role("searchbox").fill("SYSTEMD lgpl")
    expect(visible).to_have_count(1)
    expect(output).to_have_text("1 of 2")
    tab.get_by_role("searchbox").fill("systemd apache")
    expect(visible).to_have_count(0)
    tab.get_by_role("searchbox").fill("")
    tab.get_by_label("Kind").select_option("go module")
    expect(visible).to_have_count(1)
    expect(visible).to_contain_text("k8s.io/api")


def test_long_lists_are_shown_on_demand(show: Show) -> None:
    many = [part for n in range(60) for part in named(f"module{n:02}")]
    tab = show(release(image(components=many)))
    visible = tab.locator("#sbom tbody tr:visible")
    expect(visible).to_have_count(20)
    tab.get_by_role("button", name="Show all 60").click()
    expect(visible).to_have_count(60)
    expect(tab.locator("#more")).to_be_hidden()


def named(name: str) -> list[Any]:
    from edgeimg.report import Component

    return [Component(name=name, version="v1", kind="go module")]


@pytest.mark.parametrize("width", [320, 400, 768, 1400])
def test_nothing_is_wider_than_the_screen(show: Show, width: int) -> None:
    for facts in (release(image(previous=manifest("x86-64", version="1.1.0"))), hostile()):
        tab = show(facts, width=width)
        assert tab.evaluate("document.documentElement.scrollWidth") == width


def test_the_dark_is_dark_and_the_light_is_light(show: Show) -> None:
    def brightness(scheme: str) -> int:
        tab = show(release(), color_scheme=scheme)
        color = tab.evaluate("getComputedStyle(document.body).backgroundColor")
        return int(color.removeprefix("rgb(").partition(",")[0])

    assert brightness("dark") < 40
    assert brightness("light") > 220


def test_without_its_script_the_page_still_tells_everything(show: Show) -> None:
    tab = show(release(), java_script_enabled=False)
    for name in ("#explorer", "#search", "#more", ".scripted"):
        expect(tab.locator(name)).to_be_hidden()
    tab.get_by_text("x86-64: 187.0 MiB, compressed to 100.0 MiB, as a table").click()
    expect(tab.locator("#size-tables tr", has_text="systemd").first).to_be_visible()
    expect(tab.locator("#sbom tbody tr")).to_have_count(2)


def test_hostile_text_runs_nothing(show: Show) -> None:
    tab = show(hostile())
    title = tab.title()
    assert title.startswith("</script><script>document.title='owned'")
    for _ in range(2):
        opened = tab.locator(".treemap .opens")
        if opened.count():
            opened.last.click()
    tab.get_by_role("searchbox").fill("onerror")
    expect(tab.locator("#sbom tbody tr:visible")).to_have_count(1)
    assert tab.title() == title
    assert tab.locator("img").count() == 0


@pytest.mark.parametrize("facts", [rollout_facts.facts(), rollout_facts.hostile()])
def test_a_rollout_fits_a_telephone(show: Show, facts: RolloutFacts) -> None:
    tab = show(facts, width=360)
    assert tab.title() == f"{facts.name}: roll-out report"
    assert tab.evaluate("document.documentElement.scrollWidth") <= 360
    expect(tab.locator("polyline")).to_have_count(2)
    tab.get_by_text("Gateways", exact=True).locator("xpath=self::summary").click()
    expect(tab.locator("details p")).to_be_visible()
