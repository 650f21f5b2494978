"""[trust] of a recipe: which boot files a gateway starts."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from edgeimg.recipe.types import OverlayPath
from edgeimg.text.validation import Table


class Trust(Table):
    """UEFI Secure Boot with keys of one's own. No `secure_boot`, nothing is signed."""

    secure_boot: OverlayPath | None = Field(
        None,
        description="directory of the project with the certificates PK.pem, KEK.pem and db.pem and "
        "their .auth files, as `edgeimg genkey --secure-boot` writes them; a release is held back "
        "unless its boot files are signed with the key of db.pem",
    )
    enroll: Literal["off", "if-safe", "force"] = Field(
        "off",
        description="whether the boot loader writes these keys into firmware that is in setup "
        "mode: 'if-safe' in virtual machines only, 'force' on every machine",
    )

    @model_validator(mode="after")
    def _keys_to_enroll(self) -> Self:
        if self.enroll != "off" and self.secure_boot is None:
            raise ValueError("enroll needs secure_boot: the directory with the keys")
        return self
