"""The page as a document: valid, complete, the same each time, and safe with any text in it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import Any

import html5lib
import pytest
from edgeimg.check.findings import Finding
from edgeimg.image.manifest import FileFacts
from edgeimg.report import ReportFacts, page
from edgeimg.report.verdict import verdict

from tests.release_facts import boot, hostile, image, manifest, release, smoke

SCRIPTED = re.compile(r"<script[^>]*>(.*?)</script>", re.DOTALL)


def parsed(text: str) -> Any:
    """The document. html5lib in strict mode raises at the first error of the HTML standard."""
    return html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)


def told(text: str) -> str:
    """What a reader sees or hears, blanks made one."""
    body = parsed(text).find("body")
    for parent in list(body.iter()):
        for child in list(parent):
            if child.tag == "script":
                parent.remove(child)
    return " ".join(" ".join(body.itertext()).split())


@pytest.mark.parametrize(
    "facts",
    [
        release(),
        release(image(smoke=None)),
        release(image(components=[], budget={}, sizes={})),
        release(image(manifest=manifest("x86-64", files={}, components={}, packages=[]))),
        release(image(smoke=smoke("x86-64", boots=[boot(reached=0)]))),
        release(image(previous=manifest("x86-64", version="1.1.0", kernel="6.12.0"))),
        release(image(findings=[Finding("size", "warning", "a", "b")]), overrides=["standin"]),
        ReportFacts(version="1", images=[]),
        hostile(),
    ],
    ids=["three", "not booted", "bare", "empty", "dead", "grown", "found", "none", "hostile"],
)
def test_every_report_is_valid_html(facts: ReportFacts) -> None:
    document = parsed(page(facts))
    ids = [element.get("id") for element in document.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for link in document.iter("a"):
        assert link.get("href").removeprefix("#") in ids
    for name in ("aria-labelledby", "aria-controls"):
        assert {e.get(name) for e in document.iter() if e.get(name)} <= set(ids)


def test_the_same_facts_give_the_same_page() -> None:
    assert page(release()) == page(release())


def test_the_page_calls_nobody() -> None:
    text = page(release())
    document = parsed(text)
    assert not [e.tag for e in document.iter() if e.get("src")]
    assert not {e.tag for e in document.iter()} & {"link", "img", "iframe", "object", "embed"}
    assert "url(" not in text
    assert "@import" not in text
    policy = next(m for m in document.iter("meta") if m.get("http-equiv"))
    assert policy.get("content").startswith("default-src 'none'")


def test_text_stays_text() -> None:
    text = page(hostile())
    document = parsed(text)
    scripts = list(document.iter("script"))
    assert [script.get("type") for script in scripts] == ["application/json", None]
    assert not [e for e in document.iter() if any(name.startswith("on") for name in e.attrib)]
    shown = told(text)
    assert shown.count("document.title='owned'") >= 12
    assert "\x00" not in text
    assert "\u202e" not in text


def test_a_file_name_that_is_no_text_can_be_written() -> None:
    facts = image()
    base = facts.manifest
    files = {**(base.files or {}), "usr/\udcff": FileFacts(size=1, origin="k3s", sha256="0")}
    components = {**base.contents.components, "overlay:\udcfe": 1}
    contents = replace(base.contents, components=components)
    named = replace(base, files=files, contents=contents)
    assert page(release(replace(facts, manifest=named))).encode()


def test_the_trees_of_the_treemap_are_in_the_page() -> None:
    found = SCRIPTED.findall(page(release()))
    trees = json.loads(found[0])
    assert list(trees) == ["arm", "arm64", "x86-64"]
    groups = {group["name"]: group for group in trees["arm"]["children"]}
    assert list(groups) == ["K3s", "Kernel modules", "Debian packages", "Overlays"]
    assert [part["name"] for part in groups["Debian packages"]["children"]] == [
        "systemd",
        "busybox",
    ]
    assert groups["K3s"]["children"][0]["files"] == {"usr/lib/k3s/current/bin/k3s": 150 << 20}


def test_the_verdict_is_the_first_thing_told() -> None:
    text = told(page(release()))
    assert "x86-64, arm64 and arm boot, run K3s and answer from a pod." in text
    assert text.count("Passed") == 3
    assert "1 of 1 boot checks held" in text
    assert "258 MiB of 512 MiB" in text
    assert "90.0 MiB of 120 MiB" in text
    assert "Let through by name" not in text


def test_what_failed_says_so() -> None:
    bad = smoke("arm", boots=[boot(reached=3)], checks=[{"name": "boot 1", "failure": "no 'node'"}])
    text = told(page(release(image(), image("arm", manifest=manifest("arm"), smoke=bad))))
    assert "x86-64 boots, runs K3s and answers from a pod; arm did not pass the boot test." in text
    assert "boot 1: no 'node'" in text
    assert "got to: K3s API ready" in text
    assert "the console's tail" not in text


def test_a_standin_is_never_called_k3s_without_saying_so() -> None:
    given = manifest("x86-64")
    given["k3s"] = {**given["k3s"], "version": "v1.36.3+standin", "standin": True}
    text = told(page(release(image(manifest=given), overrides=["standin"])))
    assert "x86-64 boots, runs Kubernetes and answers from a pod." in text
    assert "stand-in, not K3s" in text
    assert "Let through by name" in text
    assert "It is not K3s." in text


def test_what_is_written_at_rest_is_held_against_its_budget() -> None:
    assert "60.0 MiB an hour" in told(page(release(image(budget={}))))
    for limit, over in ((60 << 20, False), ((60 << 20) - 1, True)):
        (card,) = verdict(release(image(budget={"writes": limit}))).cards
        (meter,) = (m for m in card.meters if m.label == "Written at rest")
        assert meter.over is over


def test_an_exceeded_budget_is_marked() -> None:
    text = told(page(release(image(budget={"download": 60 << 20}))))
    assert "90.0 MiB of 60 MiB over" in text


def test_findings_are_told_once_with_their_places_and_fixes() -> None:
    finding = Finding("elf", "error", "usr/bin/x", "has an `RPATH`", "build it without")
    arm = image("arm", manifest=manifest("arm"), findings=[finding])
    text = told(page(release(image(findings=[finding]), arm, image("arm64", findings=[]))))
    assert text.count("has an RPATH") == 1
    assert "elf · x86-64, arm" in text
    assert "build it without" in text
    assert "1 error" in text
    assert "The checks found nothing." in told(page(release()))


def test_components_of_all_images_are_one_list() -> None:
    text = told(page(release()))
    assert text.count("k8s.io/api") == 1
    assert text.count("LGPL-2.1-or-later") == 2  # once for narrow screens
    assert "pkg:deb/debian/systemd@257.1-1?distro=debian-13" in text
