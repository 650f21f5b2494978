"""What an image's gateways take, as its manifest says: settings for parts that it has not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from edgeimg.errors import ProvisionError
from edgeimg.image.manifest import SUFFIX
from edgeimg.provision.consents import beside, require_parts
from edgeimg.provision.settings import Settings
from pydantic import SecretStr

from tests.release_facts import manifest

PARTS = {
    "usr/lib/edgeimg/rollout": Settings.model_validate(
        {"rollout": {"token_file": SecretStr("token")}}
    ),
    "usr/lib/edgeimg/update.conf": Settings.model_validate(
        {"update": {"url": "https://updates.example.org/gw"}}
    ),
}


@pytest.mark.parametrize("part", PARTS)
def test_settings_for_a_part_that_the_image_has_not_are_refused(tmp_path: Path, part: str) -> None:
    raw = tmp_path / "gw.raw.zst"
    document = manifest("x86-64")
    for files in ({part: [1, "overlay:updates", "0" * 64]}, {}):
        content = json.dumps({**document, "files": {**document["files"], **files}})
        (tmp_path / f"gw{SUFFIX}").write_text(content)
        takes = beside(raw)
        if part in files:
            require_parts(takes, PARTS[part], "gw")
    with pytest.raises(ProvisionError, match=r"gw (has no|does not)") as caught:
        require_parts(takes, PARTS[part], "gw")
    assert "edgeimg:" in str(caught.value.hint)
    require_parts(takes, Settings(hostname="x"), "gw")
    require_parts(None, PARTS[part], "gw")
