"""NoCloud, cloud-init's files for one machine, as settings.

`meta-data`, `user-data` and `network-config` are translated as far as a gateway has the like;
what has no meaning to a gateway is a note, everything else an error that says where it belongs.
https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from edgeimg.errors import ProvisionError
from edgeimg.provision import nocloud_network, nocloud_user, reading
from edgeimg.provision.reading import Ask, Origin, SettingsError
from edgeimg.provision.settings import Settings
from edgeimg.provision.translation import Table, Translation
from edgeimg.provision.value_files import Given
from edgeimg.text import yaml_text
from edgeimg.text.toml_text import Kind, Place, read_text

NAMES = ("meta-data", "user-data", "network-config")
_KIND = Kind(name="NoCloud file", error=ProvisionError, hint=f"expected one of {', '.join(NAMES)}")
_CLOUD_CONFIG = "#cloud-config"
_OTHERS = {
    r"#cloud-config-(archive|jsonp)|(?i:Content-Type:|MIME-Version:)": "several parts in one file "
    "are not supported: write the cloud-config alone",
    r"##\s*template:": "templates are not filled in: write the values",
    "#(include|include-once)$": "a gateway fetches nothing: write what is at that address",
    "#cloud-boothook|#part-handler": "a gateway runs a script once, with /bin/sh",
    "#!": "a gateway has no other shell than /bin/sh, in that spelling",
    r"I2Nsb3VkLWNvbmZpZ|[A-Za-z0-9+/]{40,}=*$": "unpack base64 first",
}
"""First lines of other formats that stand in user-data, and what to do."""
Note = Callable[[str], None]


def find(directory: Path) -> tuple[Path, ...]:
    """The NoCloud files in a directory. Raises ProvisionError without one, or beside another file.

    README* and names that begin with a dot are skipped, and empty files of other names.
    """
    found = tuple(directory / name for name in NAMES if (directory / name).exists())
    if not found:
        names = sorted(path.name for path in directory.iterdir())
        like = [(name, meant) for name in names if (meant := _meant(name))]
        raise ProvisionError(
            f"{directory} has no settings: expected {', '.join(NAMES)} (NoCloud)"
            + "".join(f"; rename {name} to {meant}" for name, meant in like[:3]),
            hint=reading.HINT,
        )
    others = sorted(
        path.name
        for path in directory.iterdir()
        if path.name not in NAMES and not path.name.startswith((".", "README"))
        and (path.is_dir() or path.stat().st_size)
    )  # fmt: skip
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        meant = _meant(others[0])
        close = f"; did you mean '{meant}'?" if meant else ""
        raise ProvisionError(
            f"{directory} has files that are not read: {', '.join(others[:3])}{more}{close}",
            hint=f"expected {', '.join(NAMES)}; name the files one by one, or remove the others",
        )
    return found


def _meant(name: str) -> str | None:
    """The file of NoCloud that a name is like."""
    return next((known for known in NAMES if name.lower().startswith(known[:4])), None)


def load(paths: tuple[Path, ...], ask: Ask | None = None, note: Note | None = None) -> Settings:
    """The settings in NoCloud files. Raises ProvisionError, SettingsError with all problems.

    `note` is called with each line about what is without meaning to a gateway.
    """
    translation = Translation()
    # What user-data says wins over meta-data: it is read later.
    for path in sorted(paths, key=lambda path: NAMES.index(path.name)):
        text = read_text(path, _KIND)
        if path.name == "user-data" and not _is_config(translation, path, text):
            continue
        data, lines = yaml_text.read(path, text)
        table = Table(translation=translation, path=path, data=data or {}, lines=lines)
        if not isinstance(data or {}, dict):
            table.problem(None, "expected keys and values")
            continue
        _READERS[path.name](table)
    first = Place(path=paths[0], line=1)
    name = str(paths[0] if len(paths) == 1 else paths[0].parent)
    origin = Origin(
        name=name, folder=paths[0].parent, place=lambda location: translation.place(location, first)
    )
    problems = [line for _, line in sorted(translation.problems)]
    notes = [line for _, line in sorted(translation.notes)]
    try:
        settings = reading.parse(translation.data, origin, ask if not problems else None)
    except SettingsError as error:
        problems += error.problems
    if problems:
        raise SettingsError(name, problems, [*notes, *_understood(translation, problems)])
    if note is not None:
        for line in notes:
            note(line)
    return settings


def _understood(translation: Translation, problems: list[str]) -> list[str]:
    """The keys that are right, so that people see what they can keep."""
    parts = [problem.split(": ", 2) for problem in problems]
    wrong = {(place, key.partition(".")[0]) for place, key, *_ in parts}
    keys = {str(place) for place, _ in wrong} | {key for _, key in wrong}
    good = [
        key for place, key in translation.taken if str(place) not in keys and key not in keys
        and place.path.name != "network-config"
    ]  # fmt: skip
    return [f"understood: {', '.join(good)}"] if good else []


def _is_config(translation: Translation, path: Path, text: str) -> bool:
    """Whether user-data is cloud-config; a script runs once, as cloud-init has it."""
    place = Place(path=path, line=1)
    first = text.lstrip().partition("\n")[0].strip()
    if text.startswith("#!/bin/sh"):
        translation.put(("script_file",), Given(text), place)
        return False
    if not text.strip():
        translation.notes.append((place, f"{place}: is empty"))
        return False
    # As cloud-init has it: blank lines before it and capitals do not matter.
    if re.match(rf"{_CLOUD_CONFIG}(\s|$)", first.lower()):
        return True
    expected = f"expected {_CLOUD_CONFIG}, or a script with #!/bin/sh in its first line"
    way = next((f"; {way}" for begin, way in _OTHERS.items() if re.match(begin, first)), "")
    translation.problems.append((place, f"{place}: {expected}, found {first[:40]!r}{way}"))
    # A configuration without its first line is read, so that all is reported at once.
    return re.match(r"# *cloud-config$|[a-z_]+:(\s|$)", first) is not None


_READERS = {
    "meta-data": nocloud_user.meta,
    "user-data": nocloud_user.user,
    "network-config": nocloud_network.translate,
}
