"""The one table of what a check may find: names that recipes accept and reports show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Severity = Literal["error", "warning"]
Place = Literal["image", "kernel", "guest", "recipe"]


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One kind of defect."""

    name: str
    """As recipes and SARIF name it."""
    check: str
    """The family: which check looks for it."""
    severity: Severity
    place: Place
    """What a finding's path is in: a file of the image, the kernel's configuration, …"""
    title: str
    why: str
    """Why it matters, in a sentence or two."""
    acceptable: bool = True
    """`[check] accept` may name it. A program that cannot run is not a matter of taste."""


def _rules(check: str, severity: Severity, place: Place, *rows: tuple[str, str, str]) -> list[Rule]:
    return [
        Rule(
            name=name,
            check=check,
            severity=severity,
            place=place,
            title=title,
            why=why,
            acceptable=check not in ("elf", "size", "accept"),
        )
        for name, title, why in rows
    ]


_ALL = [
    *_rules(
        "elf", "error", "image",
        ("architecture", "Program of another architecture",
         "The image's processor cannot run it."),
        ("abi", "Program of another calling convention",
         "It cannot use the image's libraries."),
        ("interpreter", "Missing program interpreter",
         "The kernel cannot start the program without the loader that it names."),
        ("library", "Missing library",
         "The loader ends a program whose libraries it does not find."),
        ("damaged-program", "Damaged program",
         "Its headers contradict each other: it cannot be loaded."),
    ),
    *_rules(
        "hardening", "warning", "image",
        ("no-pie", "Program at a fixed address",
         "Address randomisation does not cover its code: what an attacker needs is where it was."),
        ("no-relro", "Relocations stay writable",
         "Function pointers of the loader can be overwritten while the program runs."),
        ("no-stack-protector", "No stack protector",
         "It copies into buffers unchecked, and nothing notices when one overflows its frame."),
    ),
    *_rules(
        "hardening", "error", "image",
        ("executable-stack", "Executable stack",
         "Data that an attacker sends can be run as code."),
        ("writable-code", "Memory both writable and executable",
         "Data that an attacker sends can be run as code."),
        ("text-relocations", "Text relocations",
         "The loader has to make code writable to start the program."),
        ("search-path", "Library search path that leads elsewhere",
         "Whoever can write there runs code as whoever starts the program."),
    ),
    *_rules(
        "files", "error", "image",
        ("setuid", "Set-user-ID program",
         "It runs as its owner, whoever starts it: a way up for what has broken in."),
        ("setgid", "Set-group-ID program",
         "It runs with its group's rights, whoever starts it."),
        ("world-writable", "Writable by everybody",
         "Any process, of any container that sees it, can change it."),
        ("capability", "File with capabilities",
         "It has rights of the system administrator, whoever starts it."),
    ),
    *_rules(
        "secrets", "error", "image",
        ("private-key", "Private key",
         "It is the same in every gateway, and known to everybody who has the image."),
        ("password-hash", "Password",
         "It is the same in every gateway, and can be guessed by everybody who has the image."),
        ("token", "Access token",
         "It is the same in every gateway, and known to everybody who has the image."),
    ),
    *_rules(
        "secrets", "warning", "image",
        ("unread-archive", "Archive that could not be looked into",
         "There may be secrets in it."),
    ),
    *_rules(
        "kernel", "error", "kernel",
        ("kernel-option", "Kernel option missing",
         "K3s or the image itself needs it."),
    ),
    *_rules(
        "kernel", "error", "image",
        ("kernel-module", "Kernel module missing",
         "The kernel has it as a module only, and the module is not where it would be needed."),
    ),
    *_rules(
        "sysctl", "warning", "image",
        ("sysctl", "Kernel parameter",
         "What a gateway at other people's places should have set, or what the kubelet asks for."),
    ),
    *_rules(
        "units", "warning", "image",
        ("unit-exposure", "Service without a sandbox",
         "systemd can take away from a service what it does not need; who breaks into this one "
         "has the whole system."),
    ),
    *_rules(
        "services", "warning", "recipe",
        ("privileged-service", "Service that is granted the gateway",
         "Its container does not isolate it: whoever takes it over has the whole system."),
    ),
    *_rules(
        "containers", "warning", "recipe",
        ("left-out-device", "Device of a container image",
         "The image has no device nodes; a container gets its /dev from the runtime."),
        ("unseen-images", "Images that no manifest names",
         "A pod whose image is not in the disk image waits for a network that may never come."),
        ("chart-download", "Chart that is downloaded on the gateway",
         "Without a network its objects never come to be."),
        ("volume-type", "Volume that the image cannot mount",
         "Its pod stays in ContainerCreating for ever."),
    ),
    *_rules(
        "licences", "error", "recipe",
        ("licence-terms", "Licence that has to be accepted",
         "Its terms may forbid to pass the file on, as a release does."),
    ),
    *_rules(
        "listening", "error", "guest",
        ("listening", "Unexpected listening port",
         "Every open port is a way in."),
    ),
    *_rules(
        "size", "error", "recipe",
        ("budget", "Over budget",
         "Downloads cost time and money, and slots have an end."),
    ),
    *_rules(
        "accept", "warning", "recipe",
        ("unused-accept", "Accepts what is not there",
         "An exception that matches nothing would hide the next defect at its place."),
    ),
]  # fmt: skip

RULES: dict[str, Rule] = {rule.name: rule for rule in _ALL}
