"""Vulnerabilities: a hand-made SBOM against hand-made feeds in every form."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edgeimg.cve import cve, feeds, subjects
from edgeimg.cve.cve import Judged
from edgeimg.cve.vulnerability import identify
from edgeimg.errors import ArchiveError

SBOM = {
    "bomFormat": "CycloneDX",
    "specVersion": "1.6",
    "metadata": {
        "component": {
            "name": "gateway",
            "version": "1.2",
            "properties": [{"name": "edgeimg:arch", "value": "arm64"}],
        }
    },
    "components": [
        {
            "type": "operating-system",
            "name": "debian",
            "version": "13",
            "properties": [{"name": "edgeimg:codename", "value": "trixie"}],
        },
        {
            "name": "libssl3t64",
            "purl": "pkg:deb/debian/libssl3t64@3.5.1-1%2Bb1?arch=arm64&distro=debian-13"
            "&upstream=openssl%403.5.1-1",
        },
        {
            "name": "openssl",
            "purl": "pkg:deb/debian/openssl@3.5.1-1?arch=arm64&distro=debian-13",
            "components": [
                {"name": "zlib1g", "purl": "pkg:deb/debian/zlib1g@1:1.3-1?distro=debian-13"}
            ],
        },
        {
            "name": "busybox-static",
            "purl": "pkg:deb/debian/busybox-static@1.37?distro=debian-13&upstream=busybox",
            "properties": [{"name": "edgeimg:built-using", "value": "glibc 2.41-12"}],
        },
        {"name": "golang.org/x/net", "purl": "pkg:golang/golang.org/x/net@v0.40.0"},
        {"name": "stdlib", "purl": "pkg:golang/stdlib@1.26.1"},
        {
            "name": "github.com/k3s-io/kubernetes",
            "purl": "pkg:golang/github.com/k3s-io/kubernetes@v1.35.0-k3s1",
            "properties": [{"name": "edgeimg:replaces", "value": "k8s.io/kubernetes"}],
        },
        {"name": "local", "purl": "pkg:golang/example.org/local"},
        {"name": "odd", "purl": "pkg:golang/example.org/odd@devel"},
        {"name": "etc/motd"},
        {"name": "strange", "purl": "no package URL"},
    ],
}


def tracker(source: str = "openssl", release: str = "trixie", **entry: str) -> dict[str, Any]:
    issue = {"description": "A bug.", "scope": "remote", "releases": {release: entry}}
    return {source: {"CVE-2026-1111": issue}}


def osv(
    *events: dict[str, str],
    ecosystem: str = "Go",
    name: str = "golang.org/x/net",
    kind: str = "SEMVER",
    **record: Any,
) -> dict[str, Any]:
    affected = {
        "package": {"ecosystem": ecosystem, "name": name},
        "ranges": [{"type": kind, "events": list(events)}],
    }
    base = {"id": "GO-2026-0001", "modified": "2026-01-01T00:00:00Z", "affected": [affected]}
    return base | record


Judge = Callable[..., Judged]


@pytest.fixture
def judge(tmp_path: Path) -> Judge:
    """What is found when `feeds` are given as files."""

    def run(*documents: Any, **options: Any) -> Judged:
        paths = []
        for number, document in enumerate(documents):
            paths.append(tmp_path / f"{number}.json")
            paths[-1].write_text(json.dumps(document))
        return cve.judge(SBOM, paths, **options)

    return run


def ids(judged: Judged) -> list[str]:
    return [found.id for found in judged.vulnerabilities]


@pytest.mark.parametrize(
    ("feed", "hit"),
    [
        (tracker(status="open", urgency="low"), True),
        (tracker(status="resolved", fixed_version="3.5.1-2"), True),
        (tracker(status="resolved", fixed_version="3.5.1-1"), False),
        (tracker(status="resolved", fixed_version="3.5.1-1~deb13u1"), False),
        (tracker(status="resolved", fixed_version="0"), False),
        (tracker(status="undetermined"), False),
        (tracker(release="bookworm", status="open"), False),
        (tracker(source="libssl3t64", status="open"), False),
        (tracker(source="zlib1g", status="resolved", fixed_version="1:1.3.1-1"), True),
        (tracker(source="busybox", status="resolved", fixed_version="1.37-1"), True),
        (tracker(source="glibc", status="resolved", fixed_version="2.41-12+deb13u1"), True),
    ],
)
def test_debians_tracker(judge: Judge, feed: dict[str, Any], hit: bool) -> None:
    assert ids(judge(feed)) == (["CVE-2026-1111"] if hit else [])


def test_one_finding_for_a_source_that_names_what_is_made_of_it(judge: Judge) -> None:
    judged = judge(tracker(status="resolved", fixed_version="3.5.2-1", urgency="high"))
    (finding,) = judged.findings
    assert (finding.check, finding.severity) == ("cve", "error")
    assert finding.path == "openssl 3.5.1-1"
    assert finding.message == "CVE-2026-1111 (high), in libssl3t64: A bug."
    assert finding.fix == "fixed in 3.5.2-1"


def test_what_debian_calls_unimportant_is_a_warning(judge: Judge) -> None:
    (finding,) = judge(tracker(status="open", urgency="unimportant")).findings
    assert finding.severity == "warning"
    assert finding.fix == "no fixed version is known"


ZERO = {"introduced": "0"}


@pytest.mark.parametrize(
    ("feed", "hit"),
    [
        (osv(ZERO, {"fixed": "0.41.0"}), True),
        (osv(ZERO, {"fixed": "0.40.0"}), False),
        (osv({"fixed": "0.41.0"}, {"introduced": "0.40.0"}), True),
        (osv({"introduced": "0.41.0"}), False),
        (osv(ZERO, {"last_affected": "0.40.0"}), True),
        (osv(ZERO, {"last_affected": "0.39.0"}), False),
        (osv(ZERO, {"fixed": "0.1.0"}, {"introduced": "0.39.0"}, {"fixed": "0.42.0"}), True),
        (osv(ZERO, {"fixed": "0.1.0"}, {"introduced": "0.39.0"}, {"fixed": "0.40.0"}), False),
        (osv(ZERO, {"limit": "0.40.0"}), False),
        (osv(ZERO, withdrawn="2026-01-02T00:00:00Z"), False),
        (osv(ZERO, kind="GIT"), False),
        (osv(ZERO, ecosystem="npm"), False),
        (osv(ZERO, name="golang.org/x/Net"), True),
        (osv(ZERO, {"fixed": "1.26.2"}, name="stdlib"), True),
        (osv(ZERO, {"fixed": "1.26.1"}, name="stdlib"), False),
        (osv({"introduced": "1.26.0-rc.1"}, {"fixed": "1.26.2"}, name="stdlib"), True),
        (osv(ZERO, {"fixed": "1.35.0"}, name="k8s.io/kubernetes"), False),
        (osv(ZERO, {"fixed": "1.35.1"}, name="k8s.io/kubernetes"), True),
        (osv(ZERO, {"fixed": "1.35.0-k3s2"}, name="github.com/k3s-io/kubernetes"), True),
        (osv(ZERO, {"fixed": "no version"}), True),
        (osv(ZERO, {"fixed": "3.5.2-1"}, ecosystem="Debian:13", name="openssl",
             kind="ECOSYSTEM"), True),
        (osv(ZERO, {"fixed": "3.5.1-1"}, ecosystem="Debian:13", name="openssl",
             kind="ECOSYSTEM"), False),
        (osv(ZERO, ecosystem="Debian:12", name="openssl", kind="ECOSYSTEM"), False),
        (osv(affected=[{"package": {"ecosystem": "Debian:13", "name": "openssl"},
                        "versions": ["3.5.1-1"]}]), True),
        (osv(affected=[{"package": {"ecosystem": "Debian:13", "name": "openssl"},
                        "versions": ["3.5.0-1"]}]), False),
        (osv(affected=[]), False),
    ],
)  # fmt: skip
def test_osv_ranges(judge: Judge, feed: dict[str, Any], hit: bool) -> None:
    assert bool(ids(judge(feed))) is hit


def test_the_next_fixed_version_is_told(judge: Judge) -> None:
    feed = osv(ZERO, {"fixed": "0.39.1"}, {"introduced": "0.40.0"}, {"fixed": "0.50.0"})
    feed["affected"][0]["ranges"].append(
        {"type": "SEMVER", "events": [{"introduced": "0.30.0"}, {"fixed": "0.45.0"}]}
    )
    (found,) = judge(feed).vulnerabilities
    assert found.fixed == "0.45.0"


@pytest.mark.parametrize(
    ("own", "others", "expected"),
    [
        ("CVE-2026-1111", (), "CVE-2026-1111"),
        ("DEBIAN-CVE-2026-1111", ("CVE-2026-1111",), "CVE-2026-1111"),
        ("GO-2026-0001", ("GHSA-xxxx", "CVE-2026-1111"), "CVE-2026-1111"),
        ("DSA-6000-1", ("CVE-2026-1111", "CVE-2026-2222"), "DSA-6000-1"),
        ("TEMP-0000000-ABCDEF", (), "TEMP-0000000-ABCDEF"),
    ],
)
def test_names(own: str, others: tuple[str, ...], expected: str) -> None:
    assert identify(own, others)[0] == expected


def test_what_several_feeds_tell_is_one_finding_with_the_most_facts(judge: Judge) -> None:
    debian = osv(ZERO, ecosystem="Debian:13", name="openssl", kind="ECOSYSTEM",
                 id="DEBIAN-CVE-2026-1111", upstream=["CVE-2026-1111"])  # fmt: skip
    known = tracker(status="resolved", fixed_version="3.5.2-1", urgency="high")
    for order in ([debian, known], [known, debian]):
        (found,) = judge(*order).vulnerabilities
        assert (found.id, found.fixed) == ("CVE-2026-1111", "3.5.2-1")


def test_ignoring_and_asking_for_fixable_ones(judge: Judge) -> None:
    bare = tracker(status="open")
    advisory = osv(ZERO, {"fixed": "9.0.0"}, id="DSA-1", aliases=["CVE-2026-1", "CVE-2026-22222",
                                                                   "CVE-2026-33333"])  # fmt: skip
    assert ids(judge(bare, advisory)) == ["DSA-1", "CVE-2026-1111"]
    ignored = judge(bare, advisory, ignore=["CVE-2026-1111", "CVE-2026-22222"])
    assert (ids(ignored), ignored.ignored) == (["DSA-1"], ("CVE-2026-1111",))
    both = ["CVE-2026-22222", "CVE-2026-33333", "CVE-2026-1111"]
    assert ids(judge(bare, advisory, ignore=both)) == []
    assert ids(judge(bare, advisory, fixable=True)) == ["DSA-1"]


def test_what_cannot_be_compared_is_counted(judge: Judge) -> None:
    judged = judge(tracker(status="undetermined"))
    assert (judged.title, judged.compared, judged.unknown) == ("gateway 1.2 arm64", 8, 2)


def _zip(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return path


def test_feeds_are_told_apart_by_content(tmp_path: Path) -> None:
    known = osv(ZERO)
    folder = tmp_path / "folder"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep/a.json").write_text(json.dumps(known))
    (folder / "tracker.json").write_text(json.dumps(tracker(status="open")))
    (folder / "README").write_text("no JSON")
    packed = _zip(tmp_path / "dump", {"GO-1.json": json.dumps(known), "index": "x"})
    (tmp_path / "list").write_text(json.dumps([known]))
    (tmp_path / "answer").write_text(json.dumps({"vulns": [known]}))
    for name, expected in {"folder": 2, "dump": 1, "list": 1, "answer": 1}.items():
        assert len(cve.judge(SBOM, [tmp_path / name]).vulnerabilities) == expected, name
    assert packed.exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"{", "is no JSON"),
        (b"", "is no JSON"),
        (b"[]", "holds no vulnerabilities"),
        (b"{}", "neither Debian's security tracker nor OSV"),
        (b'{"a": 1}', "neither Debian's security tracker nor OSV"),
        (b'[{"id": "x", "affected": [1]}]', "malformed"),
        (b'{"openssl": {"CVE-2026-1111": {"releases": 5}}}', "malformed"),
        (b"PK\x05\x06" + bytes(18), "holds no vulnerabilities"),
    ],
)
def test_what_is_no_feed_is_an_error_that_names_it(
    tmp_path: Path, content: bytes, told: str
) -> None:
    path = tmp_path / "feed.json"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=told) as caught:
        cve.judge(SBOM, [path])
    assert "feed.json" in caught.value.message


def test_a_damaged_zip_is_an_error(tmp_path: Path) -> None:
    path = _zip(tmp_path / "dump.zip", {"a.json": json.dumps([osv(ZERO)] * 50)})
    data = bytearray(path.read_bytes())
    data[60] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(ArchiveError, match=r"dump\.zip is damaged"):
        list(feeds.search(path, {}))


@pytest.mark.parametrize("content", ["{}", "no", "[]", '{"bomFormat": "SPDX"}'])
def test_only_cyclonedx_is_read(tmp_path: Path, content: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(content)
    with pytest.raises(ArchiveError, match="no CycloneDX document"):
        subjects.load(path)


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from edgeimg.cli import main; main()", "cve"]
    return subprocess.run(
        [*program, *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_command_exits_with_11_when_there_are_any(tmp_path: Path) -> None:
    bom, feed = tmp_path / "x.cdx.json", tmp_path / "feed.json"
    bom.write_text(json.dumps(SBOM))
    feed.write_text(json.dumps(tracker(status="open")))
    done = run(feed, "--sbom", bom)
    assert done.returncode == 11, done.stderr
    assert "CVE-2026-1111" in done.stdout
    plain = run(feed, "--sbom", bom, "--json")
    document = json.loads(plain.stdout)
    assert document["error"]["exit_code"] == 11
    (found,) = document["reports"][0]["vulnerabilities"]
    assert (found["id"], found["components"]) == ("CVE-2026-1111", ["libssl3t64", "openssl"])
    assert run(feed, "--sbom", bom, "--ignore", "CVE-2026-1111").returncode == 0
    assert run(feed, "--sbom", bom, "--fixable").returncode == 0
    feed.write_text(json.dumps(tracker(status="open", urgency="unimportant")))
    assert run(feed, "--sbom", bom).returncode == 0
