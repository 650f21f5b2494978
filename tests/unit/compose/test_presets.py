"""Units enabled by presets, as `systemctl preset-all` would."""

from __future__ import annotations

import pytest
from edgeimg.compose import presets
from edgeimg.errors import ArchiveError
from edgeimg.tree import Tree, file, symlink

UNITS = "usr/lib/systemd/system"


def enabled(files: dict[str, str], rules: str = "enable *\n") -> dict[str, str]:
    nodes = {
        path if "/" in path else f"{UNITS}/{path}": file(text.encode())
        for path, text in files.items()
    }
    nodes["usr/lib/systemd/system-preset/50-test.preset"] = file(rules.encode())
    tree = presets.apply_presets(Tree().with_nodes(nodes))
    start = "etc/systemd/system/"
    return {
        path.removeprefix(start): node.target for path, node in tree.under(start) if node.target
    }


def unit(install: str) -> str:
    return f"[Unit]\nDescription=x\n[Service]\nExecStart=/x\n[Install]\n{install}\n"


def test_wanted_required_upheld_and_aliases() -> None:
    text = unit(
        "WantedBy=multi-user.target a.target\nRequiredBy=b.target\n"
        "UpheldBy=c.target\nAlias=other.service"
    )
    target = "/usr/lib/systemd/system/x.service"
    assert enabled({"x.service": text}) == {
        "multi-user.target.wants/x.service": target,
        "a.target.wants/x.service": target,
        "b.target.requires/x.service": target,
        "c.target.upholds/x.service": target,
        "other.service": target,
    }


def test_the_first_matching_rule_counts() -> None:
    files = {name: unit("WantedBy=t.target") for name in ("a.service", "b.service", "ab.timer")}
    rules = "# comment\n\nenable a.service\ndisable *.service\nignore x\nenable *\n"
    assert enabled(files, rules) == {
        "t.target.wants/a.service": "/usr/lib/systemd/system/a.service",
        "t.target.wants/ab.timer": "/usr/lib/systemd/system/ab.timer",
    }


def test_without_a_rule_a_unit_is_enabled() -> None:
    assert enabled({"a.service": unit("WantedBy=t.target")}, "disable b.*\n")


def test_a_preset_of_etc_hides_the_one_of_its_name_in_usr() -> None:
    files = {"a.service": unit("WantedBy=t.target")}
    hidden = files | {"etc/systemd/system-preset/50-test.preset": "disable *\n"}
    assert enabled(files) != {}
    assert enabled(hidden) == {}


def test_also_brings_units_that_presets_disable() -> None:
    files = {
        "a.service": unit("WantedBy=t.target\nAlso=a.socket"),
        "a.socket": unit("WantedBy=sockets.target"),
    }
    assert set(enabled(files, "enable a.service\ndisable *\n")) == {
        "t.target.wants/a.service",
        "sockets.target.wants/a.socket",
    }


def test_templates() -> None:
    text = unit("WantedBy=getty.target\nAlias=%p-%i.service")
    target = "/usr/lib/systemd/system/g@.service"
    assert enabled({"g@.service": text}) == {}
    assert enabled({"g@.service": text + "DefaultInstance=tty1\n"}) == {
        "getty.target.wants/g@tty1.service": target,
        "g-tty1.service": target,
    }
    assert enabled({"g@.service": text}, "enable g@.service tty3 tty4\n") == {
        "getty.target.wants/g@tty3.service": target,
        "g-tty3.service": target,
        "getty.target.wants/g@tty4.service": target,
        "g-tty4.service": target,
    }


def test_drop_ins_and_resets() -> None:
    files = {
        "a.service": unit("WantedBy=t.target"),
        f"{UNITS}/a.service.d/10.conf": "[Install]\nWantedBy=\nWantedBy=u.target\n",
    }
    assert set(enabled(files)) == {"u.target.wants/a.service"}


def test_masked_units_and_aliases_are_not_enabled() -> None:
    nodes = {
        f"{UNITS}/a.service": file(unit("WantedBy=t.target").encode()),
        "etc/systemd/system/a.service": symlink("/dev/null"),
        f"{UNITS}/b.service": symlink("a.service"),
    }
    tree = presets.apply_presets(Tree().with_nodes(nodes))
    assert [path for path, _ in tree.under("etc/systemd/system")] == [
        "etc/systemd/system/a.service"
    ]


def test_units_without_install_are_left_alone() -> None:
    assert enabled({"a.service": "[Service]\nExecStart=/x\n"}) == {}


def test_links_that_are_there_stay() -> None:
    nodes = {
        f"{UNITS}/a.service": file(unit("WantedBy=t.target").encode()),
        "etc/systemd/system/t.target.wants/a.service": symlink("/elsewhere"),
    }
    tree = presets.apply_presets(Tree().with_nodes(nodes))
    assert tree["etc/systemd/system/t.target.wants/a.service"].target == "/elsewhere"


def test_malformed_presets_are_an_error() -> None:
    with pytest.raises(ArchiveError, match=r"50-test\.preset"):
        enabled({}, "enable\n")
