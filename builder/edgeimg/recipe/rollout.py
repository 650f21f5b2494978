"""[rollout] of a recipe: the server that decides which gateway gets which version."""

from __future__ import annotations

from pydantic import Field

from edgeimg.text.validation import Table


class Rollout(Table):
    """The roll-out server that gateways ask for orders, with hawkBit's DDI."""

    server: str | None = Field(
        None,
        pattern=r"^https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~/-]*)?$",
        description="address of the server. Without it, SERVER of rollout.env names it",
    )
    tenant: str = Field(
        "default", pattern=r"^[A-Za-z0-9._-]{1,64}$", description="tenant of the server"
    )
    poll: int = Field(
        5,
        ge=1,
        le=24 * 60,
        description="minutes between two polls; a server may ask for rarer ones",
    )
