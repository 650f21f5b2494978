"""How a gateway gets new versions: systemd-sysupdate's transfers and the trusted keys.

Written as sysupdate.d(5) of systemd 257 has it. A new version is three files of a release, which go
into the free slot and onto the EFI system partition; the UKI comes last, so that a version without
it is never started. The running version (`ProtectVersion`) is never overwritten.
"""

from __future__ import annotations

from edgeimg.errors import RecipeError
from edgeimg.recipe.updates import Update
from edgeimg.tree import Tree, file

TRANSFERS = "usr/lib/sysupdate.d"
KEYRING = "usr/lib/systemd/import-pubring.gpg"
"""The only keys that systemd-pull believes. Debian's file has those of distributions."""
TIMER = "edgeimg-update.timer"
RESTART_TIMER = "edgeimg-update-restart.timer"
TRIAL_TIMER = "edgeimg-trial-expire.timer"
SETTINGS = "usr/lib/edgeimg/update.conf"
"""The settings of [update] for edgeimg-update: `key=value` lines."""
INDEX_TRANSFERS = "usr/lib/edgeimg/rollback-index.d"
ROLLBACK_SUFFIX = "rollback"
"""Of the name of a release's file with its rollback index."""
TRIES = 3
"""Boots in which a new version has to show that it works."""
_UNITS = "usr/lib/systemd/system"
_PRESET = "usr/lib/systemd/system-preset/05-edgeimg-update.preset"
_PROGRAMS = ("usr/lib/systemd/systemd-sysupdate", "usr/bin/edgeimg-update")
_SLOT = """\
Type=partition
Path=auto
MatchPartitionType={type}
MatchPattern=%M_@v{suffix}
ReadOnly=yes
"""
_UKI = f"""\
Type=regular-file
Path=/EFI/Linux
PathRelativeTo=boot
MatchPattern=%M_@v+@l-@d.efi %M_@v+@l.efi %M_@v.efi
TriesLeft={TRIES}
TriesDone=0
InstancesMax=2
"""
_INDEX = """\
Type=regular-file
Path=/run/edgeimg/rollback-index
MatchPattern=%M_@v
InstancesMax=2
"""
_ORIGIN = "edgeimg"


def compose(update: Update, keyring: bytes) -> Tree:
    """Files of the root for [update]; `keyring` is a binary OpenPGP keyring (RFC 4880, 11.1).

    An empty tree when the recipe names no url.
    """
    if update.url is None:
        return Tree()
    texts = {
        f"{TRANSFERS}/10-root.transfer": _transfer(
            update.url, "%M_@v_%a_@u.root.xz", _SLOT.format(type="root", suffix="")
        ),
        f"{TRANSFERS}/20-verity.transfer": _transfer(
            update.url, "%M_@v_%a_@u.verity.xz", _SLOT.format(type="root-verity", suffix="_verity")
        ),
        f"{TRANSFERS}/30-uki.transfer": _transfer(update.url, "%M_@v_%a.efi", _UKI),
    }
    texts[f"{INDEX_TRANSFERS}/10-rollback-index.transfer"] = _transfer(
        update.url, f"%M_@v_%a.{ROLLBACK_SUFFIX}", _INDEX
    )
    texts[SETTINGS] = (
        f"rollback_index={update.rollback_index}\nallow_older={' '.join(update.allow_older)}\n"
    )
    texts[f"{_UNITS}/{TRIAL_TIMER}.d/trial.conf"] = (
        f"[Timer]\nOnBootSec=\nOnBootSec={update.trial}min\n"
    )
    enabled = ["edgeimg-trial.service", TRIAL_TIMER]
    if update.schedule is not None:
        texts[f"{_UNITS}/{TIMER}.d/schedule.conf"] = f"[Timer]\nOnCalendar={update.schedule}\n"
        enabled.append(TIMER)
    if update.restart is not None:
        texts[f"{_UNITS}/{RESTART_TIMER}.d/restart.conf"] = (
            f"[Timer]\nOnCalendar={update.restart}\n"
        )
        texts[f"{_UNITS}/edgeimg-update.service.d/restart.conf"] = (
            "[Service]\nExecStart=\nExecStart=edgeimg-update install --quiet\n"
        )
        enabled.append(RESTART_TIMER)
    texts[_PRESET] = "".join(f"enable {unit}\n" for unit in enabled)
    nodes = {path: file(text.encode(), origin=_ORIGIN) for path, text in texts.items()}
    return Tree().with_nodes({**nodes, KEYRING: file(keyring, origin=_ORIGIN)})


def require_programs(root: Tree, update: Update) -> None:
    """Raises RecipeError when [update] is set and the root lacks the program for it."""
    if update.url is not None and any(path not in root for path in _PROGRAMS):
        raise RecipeError(
            "update.url is set, but the image has no program for updates",
            hint='have it include the recipe for that: include = ["gateway.toml", "updates.toml"]',
        )


def _transfer(url: str, pattern: str, target: str) -> str:
    """One transfer file; `%` in the url is no specifier of systemd's."""
    return (
        "[Transfer]\nProtectVersion=%A\nVerify=yes\n\n"
        f"[Source]\nType=url-file\nPath={url.replace('%', '%%')}\nMatchPattern={pattern}\n\n"
        f"[Target]\n{target}"
    )
