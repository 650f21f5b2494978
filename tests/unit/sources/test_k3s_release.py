"""Where K3s' releases are, and whose word is taken for their sha256."""

from __future__ import annotations

import pytest
from edgeimg.arch import ARCHITECTURES, ARM, ARM64, X86_64
from edgeimg.errors import FetchError
from edgeimg.lock.model import K3sAsset
from edgeimg.sources.k3s_release import asset_name, asset_url, download, parse_checksums

BASE = "https://releases.example/k3s/download"
SHA = "a" * 64


def test_asset_names_are_the_releases() -> None:
    assert [asset_name(arch) for arch in ARCHITECTURES] == ["k3s", "k3s-arm64", "k3s-armhf"]


@pytest.mark.parametrize("base", [BASE, BASE + "/"])
def test_the_plus_of_a_version_is_quoted(base: str) -> None:
    assert asset_url(base, "v1.35.0+k3s1", "k3s") == f"{BASE}/v1.35.0%2Bk3s1/k3s"


def test_mirrors_stand_in_for_the_locked_place() -> None:
    asset = K3sAsset(
        version="v1.35.0+k3s1", url=f"{BASE}/v1.35.0%2Bk3s1/k3s-arm64", size=5, sha256=SHA
    )
    plain = download(asset, env={})
    assert (plain.sha256, plain.size, plain.urls) == (SHA, 5, (asset.url,))
    mirrored = download(asset, env={"EDGEIMG_K3S_URL": "http://a.example/k http://b.example/"})
    assert mirrored.urls == (
        "http://a.example/k/v1.35.0%2Bk3s1/k3s-arm64",
        "http://b.example/v1.35.0%2Bk3s1/k3s-arm64",
    )


CHECKSUMS = f"""\
{"1" * 64}  k3s-airgap-images-arm.tar.zst
{"2" * 64}  k3s-images.txt
{"3" * 64}  k3s-armhf
{"4" * 64} *dist/artifacts/k3s-arm64
not a line
{"5" * 64}  k3s
"""


@pytest.mark.parametrize(("arch", "digit"), [(ARM, "3"), (ARM64, "4"), (X86_64, "5")])
def test_checksums_are_found_by_exact_name(arch: object, digit: str) -> None:
    name = asset_name(arch)  # type: ignore[arg-type]
    assert parse_checksums(CHECKSUMS, name, "list") == digit * 64


@pytest.mark.parametrize("text", ["", "<html>404</html>", f"{'1' * 63}  k3s", f"{'1' * 64}  k3sx"])
def test_a_list_without_it_is_an_error(text: str) -> None:
    with pytest.raises(FetchError, match="holds no sha256 of k3s"):
        parse_checksums(text, "k3s", "list")
