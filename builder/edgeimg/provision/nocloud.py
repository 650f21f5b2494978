"""NoCloud, cloud-init's files for one machine, as settings.

`meta-data`, `user-data` and `network-config` are translated as far as a gateway has the like;
everything else in them is an error that names it. Nothing is passed over.
https://docs.cloud-init.io/en/latest/reference/datasources/nocloud.html
"""

from __future__ import annotations

from pathlib import Path

from edgeimg.errors import ProvisionError
from edgeimg.provision import nocloud_network, reading
from edgeimg.provision.reading import Ask, Origin, SettingsError
from edgeimg.provision.settings import Settings
from edgeimg.provision.translation import Table, Translation
from edgeimg.provision.values import Given
from edgeimg.text import yaml_text
from edgeimg.text.toml_text import Kind, Place, read_text

NAMES = ("meta-data", "user-data", "network-config")
_KIND = Kind(name="NoCloud file", error=ProvisionError, hint=f"expected one of {', '.join(NAMES)}")
_CLOUD_CONFIG = "#cloud-config"
_USER = "hostname, ssh_authorized_keys, timezone, ntp, ca_certs"


def find(directory: Path) -> tuple[Path, ...]:
    """The NoCloud files in a directory. Raises ProvisionError when there is none."""
    found = tuple(directory / name for name in NAMES if (directory / name).exists())
    if not found:
        raise ProvisionError(
            f"{directory} has no settings: expected {', '.join(NAMES)} (NoCloud)",
            hint=reading.HINT,
        )
    return found


def load(paths: tuple[Path, ...], ask: Ask | None = None) -> Settings:
    """The settings in NoCloud files. Raises ProvisionError, SettingsError with all problems."""
    told = Translation()
    # What user-data says wins over meta-data: it is read later.
    for path in sorted(paths, key=lambda path: NAMES.index(path.name)):
        text = read_text(path, _KIND)
        if path.name == "user-data" and not text.startswith(_CLOUD_CONFIG):
            _script(told, path, text)
            continue
        data, lines = yaml_text.read(path, text)
        table = Table(told=told, path=path, data=data or {}, lines=lines)
        if not isinstance(data or {}, dict):
            table.problem(None, "expected keys and values")
            continue
        {"meta-data": _meta, "user-data": _user, "network-config": nocloud_network.translate}[
            path.name
        ](table)
    first = Place(path=paths[0], line=1)
    name = str(paths[0] if len(paths) == 1 else paths[0].parent)
    origin = Origin(
        name=name, folder=paths[0].parent, place=lambda location: told.place(location, first)
    )
    problems = [line for _, line in sorted(told.problems)]
    try:
        settings = reading.parse(told.data, origin, ask if not problems else None)
    except SettingsError as error:
        raise SettingsError(name, [*problems, *error.problems]) from None
    if problems:
        raise SettingsError(name, problems)
    return settings


def _meta(table: Table) -> None:
    table.take("instance-id", (str, int), "a name")  # every start is looked at anew
    _hostname(table, "local-hostname")
    _keys(table, "public-keys")
    table.end("instance-id, local-hostname, public-keys")


def _user(table: Table) -> None:
    _hostname(table, "hostname")
    _keys(table, "ssh_authorized_keys")
    place = table.place("timezone")
    if zone := table.take("timezone", str, "a time zone such as Europe/Berlin"):
        table.told.put(("timezone",), zone, place)
    if ntp := table.table("ntp"):
        enabled = ntp.take("enabled", bool, "true or false")
        if enabled is False:
            ntp.problem("enabled", "a gateway always asks for the time")
        if servers := [*ntp.texts("servers"), *ntp.texts("pools")]:
            table.told.put(("ntp",), servers, ntp.place())
        ntp.end("enabled, servers, pools")
    for name in ("ca_certs", "ca-certs"):
        if authorities := table.table(name):
            trusted = [Given(text) for text in authorities.texts("trusted")]
            table.told.put(("ca_files",), trusted, authorities.place())
            authorities.end("trusted")
    table.end(_USER)


def _hostname(table: Table, key: str) -> None:
    place = table.place(key)
    if name := table.take(key, str, "a name"):
        table.told.put(("hostname",), name, place)


def _keys(table: Table, key: str) -> None:
    place = table.place(key)
    if keys := table.texts(key):
        before = table.told.data.get("ssh_keys", [])
        table.told.put(("ssh_keys",), [*before, *keys], place)


def _script(told: Translation, path: Path, text: str) -> None:
    """user-data that is a script runs once, as cloud-init has it."""
    place = Place(path=path, line=1)
    if text.startswith("#!/bin/sh"):
        told.put(("script_file",), Given(text), place)
        return
    told.problems.append(
        (place, f"{place}: expected {_CLOUD_CONFIG}, or a script with #!/bin/sh in its first line")
    )
