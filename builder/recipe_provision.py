"""[provision]: what the gateways of an image may be provisioned with."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Provisioning(BaseModel):
    """What is not for every gateway to take from its config partition."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    script: bool = Field(
        False,
        description="a shell script is taken and run as root, once: who can write to the config "
        "partition, which anybody can who holds the card, owns the gateway",
    )
