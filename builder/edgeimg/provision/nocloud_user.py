"""NoCloud's meta-data and user-data → settings.

https://docs.cloud-init.io/en/latest/reference/modules.html
"""

from __future__ import annotations

from edgeimg.provision.translation import Table
from edgeimg.provision.value_files import Given

_KNOWN = "hostname, fqdn, ssh_authorized_keys, timezone, ntp, ca_certs"
_ONE_LOGIN = "the only login is root's, by the keys in ssh_authorized_keys"
_READ_ONLY = "the system is read-only, and updated whole"
_NO_CONSOLE = "nobody sits at a gateway"
_WITHOUT = {
    "locale": "messages are in English",
    "keyboard": _NO_CONSOLE,
    "manage_etc_hosts": "/etc/hosts follows the host name",
    "preserve_hostname": "the host name is what the settings say",
    "prefer_fqdn_over_hostname": "the host name has no domain",
    "create_hostname_file": "the host name is what the settings say",
    "enable_ssh": "ssh is there for whoever has a key",
    "disable_root": _ONE_LOGIN,
    "disable_root_opts": _ONE_LOGIN,
    "package_update": _READ_ONLY,
    "package_upgrade": _READ_ONLY,
    "package_reboot_if_required": _READ_ONLY,
    "apt": _READ_ONLY,
    "snap": _READ_ONLY,
    "growpart": "the data partition takes the rest of the disk",
    "resize_rootfs": "the data partition takes the rest of the disk",
    "final_message": _NO_CONSOLE,
    "output": "messages are in the journal",
    "power_state": "a gateway takes its settings over while it starts",
    "ssh_deletekeys": "host keys are a gateway's own, made at its first start",
    "ssh_genkeytypes": "host keys are a gateway's own, made at its first start",
    "ssh_quiet_keygen": "host keys are a gateway's own, made at its first start",
    "no_ssh_fingerprints": "host keys are a gateway's own, made at its first start",
    "datasource": "there is no cloud-init on a gateway",
    "datasource_list": "there is no cloud-init on a gateway",
    "cloud_init_modules": "there is no cloud-init on a gateway",
    "cloud_config_modules": "there is no cloud-init on a gateway",
    "cloud_final_modules": "there is no cloud-init on a gateway",
    "system_info": "there is no cloud-init on a gateway",
    "merge_how": "there is one user-data",
    "merge_type": "there is one user-data",
}
_K3S = "say it in a TOML file of settings: [k3s] has role, server, token_file and labels"
_RECIPE = "it belongs in the image's recipe"
_SCRIPT = (
    "a script is user-data of its own, with #!/bin/sh in its first line, and needs the consent of "
    "the recipe: [provision] allow"
)
_WAYS = {
    "packages": f"{_RECIPE}: [packages] include",
    "write_files": f"{_RECIPE}: files of its overlay",
    "runcmd": _SCRIPT,
    "bootcmd": _SCRIPT,
    "boot_cmd": _SCRIPT,
    "init_cmd": _SCRIPT,
    "run_cmd": _SCRIPT,
    "network": "it belongs in a file of its own, network-config",
    "users": f"{_ONE_LOGIN}: put the keys of its users there",
    "user": f"{_ONE_LOGIN}: put the keys of this user there",
    "groups": _ONE_LOGIN,
    "ssh_import_id": "a gateway fetches no keys: put the keys into ssh_authorized_keys",
    "ssh_pwauth": f"nobody logs in with a password: {_ONE_LOGIN}",
    "password": f"nobody logs in with a password: {_ONE_LOGIN}",
    "chpasswd": f"nobody logs in with a password: {_ONE_LOGIN}",
    "mounts": f"{_RECIPE}: a unit of its overlay",
    "disk_setup": f"{_RECIPE}: [disk]",
    "fs_setup": f"{_RECIPE}: [disk]",
    "swap": _RECIPE,
    "rpi": f"{_RECIPE}: [board]",
    "wireguard": "say it in a TOML file of settings: [wireguard]; or as tunnels of network-config",
    "k3os": _K3S,
    "k3s": _K3S,
    "k3s-agent": _K3S,
    "p2p": _K3S,
    "stages": _SCRIPT,
    "bundles": f"{_RECIPE}: files of its overlay, or a workload",
    "reset": "`edgeimg-reset` on the gateway does it",
    "ssh_keys": "host keys are a gateway's own, made at its first start: leave them out",
    "install": "an image is written whole: edgeimg flash",
    "autoinstall": "an image is written whole: edgeimg flash; its identity.hostname belongs in "
    "hostname, ssh.authorized-keys in ssh_authorized_keys, network in network-config",
    "machine": _K3S,
    "cluster": _K3S,
    "upgrade": f"{_RECIPE}: [update]",
    "ansible": f"{_RECIPE}: a workload, or files of its overlay",
    "chef": f"{_RECIPE}: a workload, or files of its overlay",
    "puppet": f"{_RECIPE}: a workload, or files of its overlay",
    "salt_minion": f"{_RECIPE}: a workload, or files of its overlay",
    "landscape": _READ_ONLY,
    "ubuntu_advantage": _READ_ONLY,
    "ubuntu_pro": _READ_ONLY,
    "phone_home": "a gateway calls nobody",
}


def meta(table: Table) -> None:
    """Take everything that is in meta-data."""
    table.text("instance-id", "a name")  # every start is looked at anew
    table.without_meaning(
        dict.fromkeys(("dsmode", "cloud-name", "seedfrom"), "there is no cloud-init on a gateway")
    )
    _hostname(table, "local-hostname")
    _keys(table, "public-keys")
    table.end(
        "instance-id, local-hostname, public-keys",
        {"network-interfaces": "it belongs in a file of its own, network-config"},
    )


def user(table: Table) -> None:
    """Take everything that is in user-data."""
    _fqdn(table)
    _hostname(table, "hostname")
    _keys(table, "ssh_authorized_keys")
    place = table.place("timezone")
    if zone := table.take("timezone", str, "a time zone such as Europe/Berlin"):
        table.translation.put(("timezone",), zone, place)
    if ntp := table.table("ntp"):
        _ntp(ntp)
    for name in ("ca_certs", "ca-certs"):
        if authorities := table.table(name):
            trusted = [Given(text) for text in authorities.texts("trusted")]
            table.translation.put(("ca_files",), trusted, authorities.place())
            for key in ("remove_defaults", "remove-defaults"):
                authorities.already(key, False)
            authorities.end("trusted")
    table.without_meaning(_WITHOUT)
    _already_so(table)
    table.end(_KNOWN, _WAYS)


def _ntp(ntp: Table) -> None:
    if ntp.take("enabled", bool, "true or false") is False:
        ntp.problem("enabled", "a gateway always asks for the time")
    if servers := [*ntp.texts("servers"), *ntp.texts("pools")]:
        ntp.translation.put(("ntp",), servers, ntp.place())
    ntp.without_meaning({"ntp_client": "the image's recipe says which one it has"})
    ntp.end("enabled, servers, pools")


def _already_so(table: Table) -> None:
    """What asks for what gateways do anyway."""
    table.already("ssh_pwauth", False, "unchanged")
    table.already("users", ["default"])
    table.already("user", "root", {"name": "root"})
    table.already("chpasswd", *({"expire": off} for off in (False, "false", "no", "off")))


def _fqdn(table: Table) -> None:
    """A name with its domain, unless there is one without."""
    place = table.place("fqdn")
    if name := table.take("fqdn", str, "a name"):
        host, _, domain = name.partition(".")
        table.translation.put(("hostname",), host, place)
        if domain:
            why = "search domains are in network-config"
            table.translation.notes.append(
                (place, f"{place}: fqdn: the domain has no meaning here: {why}")
            )


def _hostname(table: Table, key: str) -> None:
    place = table.place(key)
    if name := table.take(key, str, "a name"):
        table.translation.put(("hostname",), name, place)


def _keys(table: Table, key: str) -> None:
    place = table.place(key)
    keys = table.data.get(key)
    if isinstance(keys, dict):  # names of keys, with a key or several each
        # On EC2 and OpenStack each is in a table of its own.
        inner = [
            one["openssh-key"] if isinstance(one, dict) and set(one) == {"openssh-key"} else one
            for one in keys.values()
        ]
        table.data[key] = [
            one for many in inner for one in (many if isinstance(many, list) else [many])
        ]
    if keys := [line for text in table.texts(key) for line in text.splitlines() if line.strip()]:
        before = table.translation.data.get("ssh_keys", [])
        table.translation.put(("ssh_keys",), [*before, *keys], place)
