"""Workloads: images that lie in the root, manifests that are checked before they are flashed."""

from __future__ import annotations

import io
import json
import tarfile
import time
from pathlib import Path

import pytest
from edgeimg.arch import ARM64, X86_64
from edgeimg.errors import ArchiveError, RecipeError
from edgeimg.recipe.file import load
from edgeimg.recipe.image_name import full_reference, is_valid, short_name
from edgeimg.recipe.workloads import PodImage
from edgeimg.services.image import Image
from edgeimg.services.roots import roots
from edgeimg.sources.oci import ContainerImage
from edgeimg.tree import Tree, file
from edgeimg.workloads import compose, images, manifests
from edgeimg.workloads.layout import ARCHIVE, LIST

EPOCH = 1767225600
APP = "localhost/acme/app:1"
CONFIG_MAP = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"
POD = """\
apiVersion: v1
kind: Pod
metadata:
  name: app
spec:
  containers:
    - name: app
      image: {image}
"""


def made(reference: str = APP, content: bytes = b"app") -> ContainerImage:
    tree = Tree().with_nodes({"bin/app": file(content, mode=0o755)})
    return ContainerImage(name=reference, tree=tree, run={"Entrypoint": ["/bin/app"]})


def test_an_image_is_a_directory_and_a_layer_that_names_it() -> None:
    root = images.compose_images([made()], X86_64, EPOCH)
    (reference, digest, place) = root.read(LIST).decode().split()
    assert reference == APP
    assert root.read(f"usr/lib/edgeimg/images/{place}/rootfs/bin/app") == b"app"
    with tarfile.open(fileobj=io.BytesIO(root.read(ARCHIVE))) as archive:
        files = {i.name.removeprefix("./"): archive.extractfile(i) for i in archive if i.isfile()}
        read = {name: stream.read() for name, stream in files.items() if stream}
    (entry,) = json.loads(read["manifest.json"])
    assert entry["RepoTags"] == [APP]
    assert f"sha256:{entry['Config'].rpartition('/')[2]}" == digest
    with tarfile.open(fileobj=io.BytesIO(read[entry["Layers"][0]])) as layer:
        (mark,) = [info for info in layer if info.isfile()]
        stream = layer.extractfile(mark)
        assert mark.name.removeprefix("./") == ".edgeimg-image"
        assert stream and stream.read().decode().strip() == place
    assert images.read_listing(root) == {
        APP: (digest, f"usr/lib/edgeimg/images/{place}/rootfs"),
    }
    assert [place for place, _ in roots(root)] == ["", f"usr/lib/edgeimg/images/{place}/rootfs/"]


def test_another_content_is_another_directory_and_another_id() -> None:
    one, two = (
        images.read_listing(images.compose_images([made(content=content)], X86_64, EPOCH))[APP]
        for content in (b"a", b"b")
    )
    assert one[0] != two[0]
    assert one[1] != two[1]


def test_images_are_in_one_archive_whatever_their_order() -> None:
    both = [made(), made("localhost/acme/other:1", b"other")]
    assert (
        images.compose_images(both, ARM64, EPOCH).digest()
        == images.compose_images(both[::-1], ARM64, EPOCH).digest()
    )


def test_what_the_recipe_says_goes_before_what_the_container_image_says() -> None:
    image = Image(
        tree=Tree().with_nodes({"bin/app": file(b"x", mode=0o755)}),
        run={"Entrypoint": ["/bin/app"], "Cmd": ["-a"], "Env": ["A=1", "B=2"], "StopSignal": "INT"},
    )
    spec = PodImage(archive="x", environment={"B": "3"}, user="7")
    run = images.make_pod_images(
        APP, spec, X86_64, packages=(), image=image, project_files=Tree()
    ).run
    assert run == {
        "Entrypoint": ["/bin/app"], "Cmd": ["-a"], "Env": ["A=1", "B=3"], "StopSignal": "INT",
        "User": "7",
    }  # fmt: skip
    run = images.make_pod_images(
        APP, PodImage(archive="x", command=("/bin/b",)), X86_64, packages=(), image=image,
        project_files=Tree(),
    ).run  # fmt: skip
    assert (run["Entrypoint"], run["Cmd"]) == (["/bin/b"], [])


def test_a_static_program_is_an_image_and_nothing_is_none() -> None:
    given = Tree().with_nodes({"usr/bin/app": file(b"x", mode=0o755)})
    image = images.make_pod_images(
        APP, PodImage(binary="app"), X86_64, packages=(), image=None, project_files=given
    )
    assert image.run["Entrypoint"] == ["/usr/bin/app"]
    assert image.run["User"] == "65534:65534"
    assert "etc/passwd" in image.tree
    with pytest.raises(ArchiveError, match="no command"):
        images.make_pod_images(
            APP, PodImage(packages=("x1",)), X86_64, packages=(), image=None, project_files=given
        )


DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("acme/app:2", "docker.io/acme/app:2"),
        ("localhost/app", "localhost/app:latest"),
        ("registry.example:5000/app", "registry.example:5000/app:latest"),
        ("quay.io/a/b@sha256:00", "quay.io/a/b@sha256:00"),
        (f"nginx:1.29@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"quay.io/a/b:2@{DIGEST}", f"quay.io/a/b@{DIGEST}"),
        ("docker.io/nginx:1.29", "docker.io/library/nginx:1.29"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/library/nginx:1.29", "docker.io/library/nginx:1.29"),
        ("index.docker.io/nginx:1.29", "docker.io/library/nginx:1.29"),
        ("Registry/app:1", "Registry/app:1"),
        ("[fd00::1]:5000/app:1", "[fd00::1]:5000/app:1"),
    ],
)
def test_full_references(short: str, full: str) -> None:
    assert full_reference(short) == full
    assert full_reference(full) == full


@pytest.mark.parametrize(
    ("image", "valid"),
    [
        ("nginx", True),
        ("a__b/c--d.e:1_2", True),
        ("Registry.example.org/app:1", True),
        ("[fd00::1]:5000/app:1", True),
        (f"nginx:1@{DIGEST}", True),
        ("x" * 237, True),
        ("x" * 238, False),
        ("acme/App:1", False),
        ("nginx:", False),
        ("nginx\n", False),
        ("a___b", False),
        ("a/.b", False),
        ("a:1:2", False),
        ("nginx@sha256:00", False),
        ("nginx:" + "x" * 129, False),
        ("a" * 64, False),
        ("0123456789abcdef" * 4, False),
        ("https://registry.example/app", False),
    ],
)
def test_the_grammar_of_names(image: str, valid: bool) -> None:
    assert is_valid(image) is valid


@pytest.mark.parametrize(
    ("image", "known"),
    [
        (f"nginx:1.29@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        ("docker.io/nginx:1", "docker.io/library/nginx:1"),
        ("index.docker.io/library/nginx:1", "docker.io/library/nginx:1"),
        (f"quay.io/a:latest@{DIGEST}", f"quay.io/a@{DIGEST}"),
    ],
)
def test_manifests_find_images_as_the_cri_does(tmp_path: Path, image: str, known: str) -> None:
    written = POD.format(image=f'"{image}"') + "      imagePullPolicy: IfNotPresent\n"
    assert manifests.join("w", {"a.yaml": written}, (known,))
    if "latest" in image:
        assert "ask a registry" in problems(POD.format(image=f'"{image}"'), (known,))[0]
    recipe = tmp_path / "recipe.toml"
    name = image if "/" in image else f"docker.io/library/{image}"
    recipe.write_text(f'[workloads.w]\nmanifests = "m"\n[workloads.w.images]\n"{name}" = {{}}\n')
    assert list(load(recipe).recipe.pod_images) == [known]


def test_two_names_of_one_image_are_refused(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[workloads.w]\nmanifests = "m"\n[workloads.w.images]\n'
        '"docker.io/library/nginx:1" = {}\n"index.docker.io/library/nginx:1" = {}\n'
    )
    with pytest.raises(RecipeError, match="are one image on the gateway"):
        load(recipe)


def test_what_is_no_name_is_told_by_its_line() -> None:
    (told,) = problems(POD.format(image="acme/App:1"))
    assert told == "a.yaml:8: acme/App:1 is not the name of an image"


def test_short_names() -> None:
    assert short_name("registry.example:5000/a/app:2@sha256:00") == "app"
    assert short_name("ssh") == "ssh"


def problems(text: str, known: tuple[str, ...] = (APP,)) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        manifests.join("w", {"a.yaml": text}, known)
    return [line.strip() for line in caught.value.message.splitlines()[1:]]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (POD.format(image="nginx:1"), 'a.yaml:8: the image nginx:1 is not part of the disk image: '
         'add "docker.io/library/nginx:1" to the workload\'s images'),
        (POD.format(image=APP) + "      imagePullPolicy: Always\n", "a.yaml:8: the pod would ask"),
        ("kind: Pod\n", "a.yaml:1: no Kubernetes object: it has no apiVersion"),
        ("---\na: [\n", "a.yaml:3: not YAML"),
        ("just text\n", "a.yaml:1: no Kubernetes object"),
        ("a: !!python/object:os.system {}\n", "a.yaml:1: no Kubernetes object"),
        ("[" * 100_000, "a.yaml:1: not YAML"),
    ],
)  # fmt: skip
def test_what_would_not_run_is_told_with_its_line(text: str, told: str) -> None:
    assert problems(text)[0].startswith(told)


def test_an_image_without_a_tag_would_be_pulled_at_every_start() -> None:
    text = POD.format(image="localhost/acme/app")
    (told,) = problems(text, ("localhost/acme/app:latest",))
    assert "imagePullPolicy: IfNotPresent" in told
    policy = text + "      imagePullPolicy: IfNotPresent\n"
    assert manifests.join("w", {"a": policy}, ("localhost/acme/app:latest",))


def test_images_of_init_containers_and_templates_count_and_anchors_are_no_bomb() -> None:
    text = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  template:
    spec:
      initContainers: [{image: "a:1"}]
      containers:
        - &x {image: "b:1"}
        - *x
"""
    assert [line.split()[3] for line in problems(text)] == ["a:1", "b:1", "b:1"]
    bomb = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 30)
    )
    assert problems(f"apiVersion: v1\nkind: X\n{bomb}" + "spec: {containers: [{image: q}]}\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "spec: {containers: [{image: 'x:1'}], containers: []}",
            "a.yaml:3: duplicate key 'containers'",
        ),
        ("m: &m {image: 'x:1'}\nspec: {containers: [{<<: *m}]}", "a.yaml:3: the image x:1"),
        ("spec: {ephemeralContainers: [{image: 'x:1'}]}", "a.yaml:3: the image x:1"),
        ("spec: {volumes: [{image: {reference: 'x:1'}}]}", "a.yaml:3: the image x:1"),
        ("spec: {containers: {app: {image: 'x:1'}}}", "a.yaml:3: the image x:1"),
        ("spec: {image: 'x:1'}", "a.yaml:3: the image x:1"),
        ("spec: {templates: [{container: {image: 'x:1'}}]}", "a.yaml:3: the image x:1"),
        ("spec: {containers: [{image: [evil]}]}", "a.yaml:3: "),
        ("spec: {containers: [{image: ' evil'}]}", "a.yaml:3: "),
        ("metadata: {name: {{ .Release.Name }}}", "a.yaml:3: a template that is not rendered"),
        ("{{- if .Values.x }}\nx: 1", "a template that is not rendered"),
        ("spec: {containers: [{image: '{{ .x }}'}]}", "a.yaml:3: a template that is not rendered"),
        ("metadata: {name: '{{ .x }}'}", "a.yaml:3: a template that is not rendered"),
        ("[a]: 1", "a.yaml:3: a key that is not a text"),
    ],
)
def test_manifests_are_read_as_kubernetes_reads_them(text: str, told: str) -> None:
    named = "" if "metadata" in text else "metadata: {name: x}\n"
    assert told in problems(f"apiVersion: v1\nkind: X\n{text}\n{named}")[0]


DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata: {{name: app, labels: {{app: {label}}}}}
spec:
  template:
    metadata: {{annotations: {{a: {note}}}}}
    spec:
      nodeSelector: {{disk: {disk}}}
      containers:
        - {{image: "localhost/acme/app:1", args: [{item}], env: [{{name: A, value: {value}}}]}}
"""
TEXTS = {"label": "123e4567", "note": "2026-11-30", "disk": "ssd", "item": "-v", "value": "1:30"}


@pytest.mark.parametrize(
    ("place", "scalar", "told"),
    [
        ("label", "1", "a.yaml:3: labels.app is not a text: write it in quotes"),
        ("note", "yes", "a.yaml:6: annotations.a is not a text"),
        ("disk", "on", "a.yaml:8: nodeSelector.disk is not a text"),
        ("item", "8080", "a.yaml:10: an item of args is not a text"),
        ("value", "012", "a.yaml:10: value of env is not a text"),
        ("value", "1e3", "a.yaml:10: value of env is not a text"),
        ("value", "123e45", "a.yaml:10: value of env is not a text"),
        ("value", "y", "a.yaml:10: value of env is not a text"),
        ("value", "[a]", "a.yaml:10: value of env: expected a text"),
        ("note", "'{{ .Values.note }}'", "a.yaml:6: a template that is not rendered"),
    ],
)
def test_where_kubernetes_takes_texts_only(place: str, scalar: str, told: str) -> None:
    """What go-yaml makes of a scalar was tried with apimachinery 0.36.3."""
    assert problems(DEPLOYMENT.format(**{**TEXTS, place: scalar}))[0].startswith(told)
    for right in (f"'{scalar}'".replace("''", "'"), "~"):  # the controls
        if "{{" not in right:
            text = DEPLOYMENT.format(**{**TEXTS, place: right})
            assert manifests.join("w", {"a.yaml": text}, (APP,))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("--- {apiVersion: v1}\n", "a.yaml:1: K3s takes no '--- {apiVersion: v1}'"),
        (f"{CONFIG_MAP}--- !!map\n{CONFIG_MAP}", "a.yaml:4: K3s takes no '--- !!map'"),
        (f"{CONFIG_MAP}data: {{on: a}}\n", "a.yaml:4: the key on is not a text in YAML 1.1"),
        (f"{CONFIG_MAP}data: {{1e3: a}}\n", "a.yaml:4: the key 1e3 is not a text"),
        ("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {version: 1}}\n",
         "a.yaml:4: selector.version is not a text"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {tolerations: [{value: true}]}\n",
         "a.yaml:4: value of tolerations is not a text"),
        ("apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{livenessProbe: "
         "{exec: {command: [sleep, 5]}}}]}\n", "a.yaml:4: an item of command is not a text"),
        (f"{CONFIG_MAP}data: {{a: 5}}\n", "a.yaml:4: data.a is not a text"),
        ("apiVersion: v1\nkind: pod\nmetadata: {name: a}\n", "a.yaml:2: v1 has no 'pod'"),
        (POD.format(image=APP) + "      imagePullPolicy: never\n", "a.yaml:8: imagePullPolicy"),
        ("apiVersion: argoproj.io/v1alpha1\nkind: Workflow\nmetadata: {name: a}\n"
         "spec: {templates: [{sidecars: [{image: 'x:1'}]}]}", "a.yaml:4: the image x:1"),
    ],
)  # fmt: skip
def test_what_k3s_would_read_otherwise(text: str, told: str) -> None:
    assert problems(text)[0].startswith(told)


def test_separators_and_texts_stay_as_they_are() -> None:
    text = f"%YAML 1.1\n--- # one\n{CONFIG_MAP}data:\n  a: |\n    ---\n    x\n"
    assert manifests.join("w", {"a.yaml": text}, ()).data.decode() == f"---\n{text}"
    text = f"{CONFIG_MAP}data:\n  on-off: true-x\n  a: |+\n    x\n\n\n"
    assert manifests.join("w", {"a.yaml": text}, ()).data.decode() == f"---\n{text}\n"
    text = (
        '{"apiVersion":"v1","kind":"Secret","metadata":{"name":"a"},"data":{"a":"\\ud83d\\ude00"}}'
    )
    assert manifests.join("w", {"a.json": text}, ())


def test_what_is_in_a_list_is_an_object_too() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- {kind: Pod}\n"
    assert problems(text) == ["a.yaml:4: no Kubernetes object: it has no apiVersion"]


@pytest.mark.parametrize(
    "text",
    [
        '{\n\t"apiVersion": "v1",\n\t"kind": "Pod",\n\t"metadata": {"name": "x"}\n}',
        f"{CONFIG_MAP}data: {{a: 'summary: {{{{ $value }}}}'}}\n",
        f"{CONFIG_MAP}data: {{a: 'containers: [{{image: x}}]'}}\n",
        "# nothing\n---\napiVersion: v1\nkind: A\nmetadata: {name: a}\n---\n",
        "apiVersion: v1\nkind: CustomResourceDefinition\nmetadata: {name: a.b}\n"
        "spec: {properties: {containers: "
        "{type: array, items: {properties: {image: {type: string}}}}}}\n",
    ],
)
def test_manifests_that_are_right(text: str) -> None:
    assert manifests.join("w", {"a.yaml": text}, ())


def test_a_byte_order_mark_does_not_get_into_the_file() -> None:
    text = b"apiVersion: v1\nkind: A\nmetadata: {name: a}\n"
    files = Tree().with_nodes({"a.yaml": file(b"\xef\xbb\xbf" + text)})
    assert manifests.join("w", manifests.texts(files), ()).data == b"---\n" + text


REFUSED_NAMES = {
    "{}": "a.yaml:3: the object has no metadata.name (or generateName)",
    "{name: }": "has no metadata.name",
    "{name: ''}": "has no metadata.name",
    "{labels: {name: x}}": "has no metadata.name",
    "[name]": "has no metadata.name",
    "{name: 123}": "metadata.name is not a text: write it in quotes",
    "{name: yes}": "is not a text",
    "{name: 1e3}": "is not a text",
    "{name: y}": "is not a text",
    "{name: {a: b}}": "is not a text",
    "{name: My App}": "a.yaml:3: metadata.name 'My App' is no name of an object: expected small",
    "{name: app_1}": "is no name",
    "{name: -app}": "is no name",
    "{name: app.}": "is no name",
    "{name: 'app\\n'}": "is no name",
    '{name: "app\\n"}': "is no name",
    f"{{name: {'a' * 254}}}": "is no name",
    "{generateName: A-}": "metadata.generateName 'A-' is no name",
}


@pytest.mark.parametrize("metadata", REFUSED_NAMES)
def test_names_that_the_api_server_refuses(metadata: str) -> None:
    (line,) = problems(f"apiVersion: v1\nkind: ConfigMap\nmetadata: {metadata}\n")
    assert REFUSED_NAMES[metadata] in line
    (line,) = problems(
        "apiVersion: v1\nkind: List\nitems:\n"
        f"- {{apiVersion: v1, kind: ConfigMap, metadata: {metadata}}}\n"
    )
    assert "a.yaml:4: " in line


def test_an_object_without_metadata_has_no_name() -> None:
    assert problems("# x\napiVersion: v1\nkind: A\n") == [
        "a.yaml:2: the object has no metadata.name (or generateName)"
    ]


@pytest.mark.parametrize(
    ("version", "metadata"),
    [
        ("v1", "{name: a}"),
        ("v1", "{name: '123'}"),
        ("v1", "{name: 2026-11-29}"),
        ("v1", "{name: !!str 123}"),
        ("v1", "{generateName: job-}"),
        ("v1", "{name: '', generateName: job-}"),
        ("v1", f"{{name: {'a' * 253}}}"),
        ("apiextensions.k8s.io/v1", "{name: alerts.acme.example}"),
        ("rbac.authorization.k8s.io/v1", "{name: 'system:Acme'}"),
        ("networking.k8s.io/v1", "{name: 'fd00::1'}"),
    ],
)
def test_names_that_the_api_server_takes(version: str, metadata: str) -> None:
    text = f"apiVersion: {version}\nkind: A\nmetadata: {metadata}\n"
    assert manifests.join("w", {"a.yaml": text}, ())
    merged = f"x: &x {metadata}\napiVersion: {version}\nkind: A\nmetadata: {{<<: *x}}\n"
    assert manifests.join("w", {"a.yaml": merged}, ())


@pytest.mark.parametrize(
    "text",
    [
        "- a\n" * 1_000_000,
        "---\n" * 1_000_000,
        "apiVersion: v1\nkind: X\na0: &a0 {x: 1}\n"
        + "".join(f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 99)),
    ],
)
def test_hostile_manifests_end_soon(text: str) -> None:
    started = time.monotonic()
    assert problems(text)
    assert time.monotonic() - started < 25


def test_files_are_joined_in_their_order_and_linked_where_k3s_looks() -> None:
    text = manifests.join("w", {"a.yaml": POD.format(image=APP), "b.yaml": "---\n"}, (APP,)).data
    root = compose.compose_manifests({"w": text})
    assert root.read("usr/share/edgeimg/manifests/w.yaml").startswith(b"---\napiVersion")
    links = root.read("usr/lib/tmpfiles.d/edgeimg-workloads.conf").decode()
    assert (
        "L+ /var/lib/rancher/k3s/server/manifests/edgeimg-w.yaml - - - - "
        "/usr/share/edgeimg/manifests/w.yaml\n" in links
    )
    assert len(compose.compose_manifests({})) == 0


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[workloads.w.images."nginx:1"]\n', "did you mean 'docker.io/library/nginx:1'"),
        ('[workloads.w.images."localhost/a:1"]\nimage = "x:1"\narchive = "y"\n', "expected one of"),
        ('[workloads.v]\nmanifests = "m"\n[workloads.v.images."localhost/a:1"]\nuser = "1"\n'
         '[workloads.w.images."localhost/a:1"]\nuser = "2"\n', "describes localhost/a:1 diff"),
        ('[workloads.w.images."localhost/a:1"]\nuser = "root"\n', "images.localhost/a:1.user"),
    ],
)  # fmt: skip
def test_recipes_that_are_refused(tmp_path: Path, text: str, told: str) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('[workloads.w]\nmanifests = "m"\n' + text)
    with pytest.raises(RecipeError, match=told):
        load(recipe)


def test_what_is_pulled_by_its_name_names_itself(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(
        '[workloads.w]\nmanifests = "m"\n[workloads.w.images]\n"docker.io/library/nginx:1" = {}\n'
    )
    made = load(recipe).recipe.contents()["image:docker.io/library/nginx:1"]
    assert made.image == "docker.io/library/nginx:1"
