"""[update] of a recipe: how gateways get new versions."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from edgeimg.recipe import calendar
from edgeimg.recipe.types import ImageVersion, OverlayPath
from edgeimg.text.validation import Table

Calendar = Annotated[str, AfterValidator(calendar.check)]


class Update(Table):
    """Where gateways get new versions, and the key that signs them. No `url`, no updates."""

    url: str | None = Field(
        None,
        pattern=r"^https?://[^\s\"'\\]+$",
        description="directory with the files of the newest release: SHA256SUMS, its signature, "
        "and the update files",
    )
    key: OverlayPath | None = Field(
        None,
        description="public key file, relative to the project; gateways refuse releases "
        "that it has not signed",
    )
    schedule: Calendar | None = Field(
        None,
        description="when gateways look for a new version, install it and restart into it, as in "
        "systemd.time(7): 'Sun 03:00'. Without it, updates are started with `edgeimg-update`",
    )
    restart: Calendar | None = Field(
        None,
        description="when gateways may restart into a version that is installed, as in "
        "systemd.time(7). Without it they restart as soon as `schedule` has installed one",
    )
    trial: int = Field(
        15,
        ge=2,
        le=24 * 60,
        description="minutes after the start in which a new version has to run K3s; after that the "
        "gateway returns to the previous version",
    )
    rollback_index: int = Field(
        0,
        ge=0,
        le=999_999_999,
        description="raise it with a version that mends a security hole: gateways that have run it "
        "refuse every version with a smaller index, whatever its number is",
    )
    allow_older: tuple[ImageVersion, ...] = Field(
        (),
        description="versions older than this one that `edgeimg-update install VERSION` may return "
        "to; all others are refused",
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.url is not None and self.key is None:
            raise ValueError("url needs a key: gateways take only signed releases")
        fields = type(self).model_fields
        others = [name for name, field in fields.items() if getattr(self, name) != field.default]
        if self.url is None and others:
            raise ValueError(f"{', '.join(others)} without a url: add it")
        if self.restart is not None and self.schedule is None:
            raise ValueError("restart needs a schedule: nothing else installs a version")
        return self
