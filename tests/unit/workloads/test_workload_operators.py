"""Objects whose pods no manifest shows: a finding for each kind, unless the recipe names images."""

from __future__ import annotations

from pathlib import Path

import pytest
from edgeimg.arch import X86_64
from edgeimg.build import containers
from edgeimg.check.containers import Absent, check
from edgeimg.errors import RecipeError
from edgeimg.recipe.file import load
from edgeimg.services.image import Image
from edgeimg.sources.oci import ContainerImage
from edgeimg.tree import Tree, file
from edgeimg.workloads import images, manifests
from edgeimg.workloads.operators import Unseen

APP = "localhost/acme/app:1"
SECOND = "localhost/acme/second:1"
POD = (
    "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\n"
    f"spec: {{containers: [{{name: x, image: '{APP}'}}]}}\n"
)
HELM = "apiVersion: helm.cattle.io/v1\nkind: HelmChart\nmetadata: {name: x}\nspec: "
CRD = (
    "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\n"
    "metadata: {name: x}\nspec: {group: GROUP, names: {kind: Alert}}\n"
)
NAMED = "metadata: {name: x}\n"
CHART = Unseen(kind="HelmChart.helm.cattle.io")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"apiVersion: v1\nkind: ConfigMap\n{NAMED}", []),
        (f"apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n{NAMED}", []),
        (f"apiVersion: traefik.io/v1\nkind: IngressRoute\n{NAMED}", []),
        (f"apiVersion: a.example/v1\nkind: Alert\n{NAMED}", [Unseen(kind="Alert.a.example")]),
        (
            "apiVersion: v1\nkind: List\nitems:\n"
            "- {apiVersion: a.example/v1, kind: Alert, metadata: {name: x}}\n",
            [Unseen(kind="Alert.a.example")],
        ),
        (f"apiVersion: a.example/v1\nkind: Alert\n{NAMED}spec: {{image: '{APP}'}}\n", []),
        (CRD.replace("GROUP", "a.example"), [Unseen(kind="Alert.a.example")]),
        (CRD.replace("GROUP", "traefik.io"), []),
        (CRD.partition("spec")[0], [Unseen(kind="CustomResourceDefinition")]),
        (f"{HELM}{{chartContent: AAAA}}\n", [CHART]),
        (f"{HELM}{{chart: 'https://%{{KUBERNETES_API}}%/static/x.tgz'}}\n", [CHART]),
        (
            f"{HELM}{{chart: x, repo: 'https://charts.example'}}\n",
            [CHART, Unseen(kind="HelmChart.helm.cattle.io/x", chart="https://charts.example")],
        ),
        (
            f"{HELM}{{chart: 'oci://charts.example/x'}}\n",
            [CHART, Unseen(kind="HelmChart.helm.cattle.io/x", chart="oci://charts.example/x")],
        ),
    ],
)
def test_what_may_start_other_images(text: str, expected: list[Unseen]) -> None:
    assert list(manifests.join("w", {"a.yaml": text}, (APP,)).unseen) == expected


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("a.yaml", "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\n"),
        ("a.yaml", "apiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\n"),
        ("base/kustomization.yaml", "resources: [x.yaml]\n"),
    ],
)
def test_a_kustomization_among_manifests_is_refused(path: str, text: str) -> None:
    with pytest.raises(RecipeError, match=r":1: a kustomization, which K3s does not apply: name"):
        manifests.join("w", {path: text}, ())


def objects(directory: Path, named: str) -> containers.Objects:
    (directory / "recipe.toml").write_text(
        f"[workloads.w]\nmanifests = 'm'\nimages = {named}\n[workloads.v]\nmanifests = 'v'\n"
    )
    recipe = load(directory / "recipe.toml").recipe
    operator = f"apiVersion: a.example/v1\nkind: Alert\n{NAMED}".encode()
    given = {"w": operator + f"---\n{HELM}{{chart: x}}\n".encode(), "v": POD.encode()}
    root = images.compose_images([ContainerImage(name=APP, tree=Tree(), run={})], X86_64, 0)
    trees = {name: Tree().with_nodes({"a.yaml": file(data)}) for name, data in given.items()}
    return containers.objects(recipe, trees, root, lambda _tree, _directory: b"")


@pytest.mark.parametrize(
    ("named", "covered"),
    [
        ("[]", False),
        (f"['{APP}']", False),  # a pod of the other workload runs it
        (f"['{APP}', '{SECOND}']", True),
        (f"{{'{APP}' = {{}}, '{SECOND}' = {{}}}}", True),
    ],
)
def test_images_that_no_manifest_names_are_for_operators(
    tmp_path: Path, named: str, covered: bool
) -> None:
    download = Unseen(kind="HelmChart.helm.cattle.io/x", chart="x")
    found = [download] if covered else [Unseen(kind="Alert.a.example"), CHART, download]
    assert objects(tmp_path, named).unseen == {"w": tuple(found), "v": ()}


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("[1]", "expected names of images"),
        ("['x']", "did you mean 'docker.io/library/x:latest'"),
        (f"['{APP}', '{APP}']", "are one image on the gateway"),
    ],
)
def test_a_list_of_images_has_names(tmp_path: Path, named: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        objects(tmp_path, named)


def test_devices_are_found_at_the_key_that_brought_them(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text(
        f"[workloads.w]\nmanifests = 'm'\nimages = ['{APP}']\n[services.web]\narchive = 'web.tar'\n"
    )
    given = containers.Images(
        recipe={"web": Image(devices=("dev/null",)), APP: Image(devices=tuple("abcd"))},
        airgap={"x/coredns:1": Image(devices=("dev/zero",)), "x/none:1": Image()},
    )
    found = check(Absent(devices=given.devices(load(tmp_path / "recipe.toml").recipe)))
    assert [(one.rule, one.path, one.item) for one in found] == [
        ("left-out-device", "services.web", "web"),
        ("left-out-device", "workloads.w.images", APP),
        ("left-out-device", "k3s.airgap", "x/coredns:1"),
    ]
    assert "are left out: /a, /b, /c and 1 more" in found[1].message
