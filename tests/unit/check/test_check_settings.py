"""Kernel parameters, services and ports: read as systemd and the kernel do."""

from __future__ import annotations

import pytest
from edgeimg.check import listening, sysctl, unit_files, units
from edgeimg.check.findings import Finding
from edgeimg.recipe.model import Recipe
from edgeimg.tree import Tree, file, symlink
from hypothesis import given
from hypothesis import strategies as st

from tests import clean

# -- sysctl.d


def value(name: str, **files: str) -> str | None:
    nodes = {path.replace("__", "/"): file(text.encode()) for path, text in files.items()}
    setting = sysctl.effective(sysctl.settings(Tree().with_nodes(nodes)), name)
    return setting.value if setting else None


def test_later_files_win_by_name_not_by_directory() -> None:
    files = {
        "usr__lib__sysctl.d__90-a.conf": "a.b = 1",
        "etc__sysctl.d__10-b.conf": "a.b = 2",
    }
    assert value("a.b", **files) == "1"


def test_files_of_etc_replace_those_of_the_same_name() -> None:
    vendor = {"usr__lib__sysctl.d__50-a.conf": "a.b = 1\nc.d = 1"}
    assert value("c.d", **vendor) == "1"
    assert value("c.d", **vendor, **{"etc__sysctl.d__50-a.conf": "a.b = 2"}) is None


def test_a_link_to_nowhere_masks() -> None:
    nodes = {
        "usr/lib/sysctl.d/50-a.conf": file(b"a.b = 1"),
        "etc/sysctl.d/50-a.conf": symlink("/dev/null"),
    }
    assert sysctl.settings(Tree().with_nodes(nodes)) == []


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# a.b = 1\n; a.b = 2\n", None),
        ("a.b=1\n a.b  =  2 3 \n", "2 3"),
        ("-a.b = 1", "1"),
        ("a/b = 1", "1"),
        ("a.* = 1", "1"),
        ("a.b = 2\na.* = 1", "2"),
        ("a.*.c = 1", None),
    ],
)
def test_lines(text: str, expected: str | None) -> None:
    assert value("a.b", **{"usr__lib__sysctl.d__x.conf": text}) == expected


def parameters(text: str) -> list[Finding]:
    overlay = clean.OVERLAY / "usr/lib/sysctl.d/60-edgeimg.conf"
    nodes = {
        "usr/lib/sysctl.d/60-edgeimg.conf": file(overlay.read_bytes()),
        "etc/sysctl.d/99-mine.conf": file(text.encode()),
    }
    return sysctl.check(Tree().with_nodes(nodes))


@pytest.mark.parametrize("line", ["kernel.panic = 0", "fs.suid_dumpable = 2", "kernel.panic = x"])
def test_a_wrong_value_points_at_its_line(line: str) -> None:
    (finding,) = parameters(f"# mine\n{line}\n")
    assert (finding.path, finding.item) == ("etc/sysctl.d/99-mine.conf", line.split()[0])
    assert "line 2" in finding.message
    assert finding.line == 2


def test_other_good_values_are_fine() -> None:
    assert parameters("kernel.panic = 30\nkernel.kptr_restrict = 1\nmine.own = 5\n") == []


def test_nothing_set_is_told_unless_the_kernel_has_it_so() -> None:
    items = {finding.item for finding in sysctl.check(Tree())}
    assert {"kernel.kptr_restrict", "net.ipv4.ip_forward"} <= items
    assert not {"fs.suid_dumpable", "kernel.randomize_va_space"} & items


# -- units

SANDBOX = """
DynamicUser=yes
PrivateDevices=yes
ProtectProc=invisible
ProtectKernelModules=yes
ProtectKernelTunables=yes
CapabilityBoundingSet=
RestrictNamespaces=yes
SystemCallFilter=@system-service
SystemCallArchitectures=native
"""


def service(text: str = "", **files: str) -> unit_files.Unit:
    nodes = {
        "usr/lib/systemd/system/a.service": file(f"[Service]\nExecStart=/bin/a\n{text}".encode()),
        **{path.replace("__", "/"): file(more.encode()) for path, more in files.items()},
    }
    (unit,) = unit_files.services(Tree().with_nodes(nodes))
    return unit


def test_a_sandbox_lowers_the_mark() -> None:
    assert units.exposure(service()) == 9.6
    assert 1 < units.exposure(service(SANDBOX)) < 5
    assert units.exposure(service("User=nobody2\n")) < 9.6


@pytest.mark.parametrize(
    "line",
    [
        "PrivateNetwork=yes", "ProtectSystem=full", "ProtectSystem=true", "ProtectHome=tmpfs",
        "NoNewPrivileges=1", "CapabilityBoundingSet=~CAP_SYS_ADMIN", "CapabilityBoundingSet=",
        "CapabilityBoundingSet=CAP_NET_RAW CAP_KILL", "RestrictNamespaces=~user",
        "RestrictNamespaces=uts", "RestrictAddressFamilies=AF_UNIX", "SystemCallFilter=~@mount",
        "RestrictAddressFamilies=~AF_PACKET", "IPAddressDeny=any", "DevicePolicy=closed",
        "SystemCallArchitectures=native", "RestrictAddressFamilies=none",
    ],
)  # fmt: skip
def test_each_protection_counts(line: str) -> None:
    assert units.exposure(service(f"{line}\n")) < units.exposure(service())


@pytest.mark.parametrize(
    "line",
    ["NotifyAccess=all", "KeyringMode=shared", "AmbientCapabilities=CAP_NET_RAW"],
)
def test_what_opens_a_service_counts(line: str) -> None:
    assert units.exposure(service(f"{line}\n")) > units.exposure(service())


def test_drop_ins_are_merged_in_order() -> None:
    unit = service(
        "User=a\nSystemCallFilter=@mount\n",
        **{
            "etc__systemd__system__a.service.d__20.conf": "[Service]\nUser=c\n",
            "usr__lib__systemd__system__a.service.d__10.conf": "[Service]\nUser=b\n",
            "usr__lib__systemd__system__service.d__30.conf": "[Service]\nSystemCallFilter=\n",
        },
    )
    assert unit.last("User") == "c"
    assert unit.words("SystemCallFilter") == []


def test_the_syntax_of_unit_files() -> None:
    unit = service("# no\n; no\nEnvironment=A=1 \\\n  # not this\n  B=2\n[Unit]\nWants=c.service\n")
    assert unit.words("Environment") == ["A=1", "B=2"]
    assert unit.last("Wants", "Unit") == "c.service"
    assert unit.last("Wants") == ""


@given(st.sampled_from(sorted(units.weights().others)), st.text(max_size=20))
def test_any_value_can_be_judged(key: str, text: str) -> None:
    assert 0 <= units.exposure(service(f"{key}={text}\n")) <= 10


def judged(origin: str, *, text: str = "", link: str | None = None) -> list[str]:
    unit = file(f"[Service]\nExecStart=/bin/a\n{text}".encode(), origin=origin)
    nodes = {"usr/lib/systemd/system/a.service": unit}
    if link:
        nodes[link] = symlink("/usr/lib/systemd/system/a.service")
    return [finding.item for finding in units.check(Tree().with_nodes(nodes))]


def test_which_services_are_judged() -> None:
    wanted = "etc/systemd/system/multi-user.target.wants/a.service"
    assert judged("overlay:mine") == ["a.service"]
    assert judged("package:a") == []
    assert judged("package:a", link=wanted) == ["a.service"]
    assert judged("overlay:mine", text="Type=oneshot\n") == []
    assert judged("overlay:mine", text=SANDBOX) == []


def test_masked_services_are_not_judged() -> None:
    nodes = {
        "usr/lib/systemd/system/a.service": file(b"[Service]\nExecStart=/bin/a\n"),
        "etc/systemd/system/a.service": symlink("/dev/null"),
    }
    assert unit_files.services(Tree().with_nodes(nodes)) == []


# -- ports

REPORT = [
    "tcp 127.0.0.1:10248", "tcp 127.0.0.1:39675", "tcp6 [::]:10250", "tcp6 [::]:6443",
    "tcp6 [::1]:10257", "tcp6 [0000000000000000ffff00000100007f]:6444", "udp 10.0.2.15:68",
    "udp 0.0.0.0:8472", "udp6 [000080fe00000000ff005450563412fe]:546",
]  # fmt: skip


def test_a_gateway_listens_where_it_should() -> None:
    assert listening.check(REPORT, Recipe().check.listening) == []


@pytest.mark.parametrize(
    "socket", ["tcp 0.0.0.0:22", "tcp6 [::]:22", "tcp 10.0.2.15:22", "tcp6 [::ffff:10.0.2.15]:22"]
)
def test_an_unexpected_port(socket: str) -> None:
    (finding,) = listening.check([*REPORT, socket], Recipe().check.listening)
    assert (finding.item, finding.severity) == ("22/tcp", "error")
    assert '"22/tcp" to [check] listening' in finding.fix


def test_one_finding_for_a_port_on_many_addresses() -> None:
    (finding,) = listening.check(["tcp 0.0.0.0:22", "tcp6 [::]:22"], ())
    assert "0.0.0.0, [::]" in finding.message


@pytest.mark.parametrize(
    ("allowed", "passes"),
    [("22/tcp", True), ("20-30/tcp", True), ("22/udp", False), ("23-30/tcp", False)],
)
def test_what_allows_a_port(allowed: str, passes: bool) -> None:
    assert (listening.check(["tcp 0.0.0.0:22"], [allowed]) == []) is passes
