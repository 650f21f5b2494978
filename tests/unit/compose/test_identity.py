"""The names in an image, and none of a device's."""

from __future__ import annotations

import json

import pytest
from edgeimg.arch import ARM
from edgeimg.compose.identity import SCRIPT_ALLOWED, add_identity
from edgeimg.recipe.k3s import K3s
from edgeimg.recipe.model import Recipe
from edgeimg.recipe.tables import Image
from edgeimg.tree import Tree, file

DEBIAN = b'PRETTY_NAME="Debian GNU/Linux 13 (trixie)"\nID=debian\n'


def identity(k3s: K3s | None = None) -> Tree:
    recipe = Recipe(image=Image(id="edge", version="1.2.3", hostname="box"), k3s=k3s or K3s())
    given = Tree().with_nodes({"usr/lib/os-release": file(DEBIAN)})
    return add_identity(given, recipe, ARM)


def test_os_release_names_the_image_and_stays_debians() -> None:
    lines = identity().read("etc/os-release").decode().splitlines()
    assert "ID=debian" in lines
    assert "IMAGE_ID=edge" in lines
    assert 'IMAGE_VERSION="1.2.3"' in lines
    assert [line for line in lines if line.startswith("PRETTY_NAME")] == [
        'PRETTY_NAME="edge 1.2.3 (Debian)"'
    ]


def test_the_machine_id_is_empty_and_roots_home_is_private() -> None:
    tree = identity()
    assert tree["etc/machine-id"].size == 0
    assert tree["root"].mode == 0o700


def test_k3s_configuration_is_yaml_that_only_root_reads() -> None:
    node = identity(K3s(config={"disable": ["traefik"]}))["etc/rancher/k3s/config.yaml"]
    assert json.loads(node.read()) == {"disable": ["traefik"]}
    assert node.mode == 0o600


@pytest.mark.parametrize(("role", "expected"), [("server", None), ("agent", b"K3S_ROLE=agent\n")])
def test_the_role_reaches_the_service(role: str, expected: bytes | None) -> None:
    node = identity(K3s.model_validate({"role": role})).get("etc/rancher/k3s/k3s.env")
    assert (node.read() if node else None) == expected


def test_gateways_take_a_script_only_where_the_recipe_says_so() -> None:
    allowed = Recipe.model_validate({"provision": {"script": True}})
    assert SCRIPT_ALLOWED in add_identity(Tree(), allowed, ARM)
    assert SCRIPT_ALLOWED not in add_identity(Tree(), Recipe(), ARM)
