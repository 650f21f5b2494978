"""Sound texts to begin with, in each format that people write or hand over."""

from __future__ import annotations

import hashlib
from pathlib import Path

MACHINES = Path(__file__).parents[1] / "data/hardware"
SHA256 = "a" * 64

LOCK = f"""\
format = 1
recipe = "{"c" * 64}"
suite = "trixie"

[image.arm64]
[image.arm64.k3s]
version = "v1.35.0+k3s1"
url = "https://example.org/k3s"
size = 7
sha256 = "{"b" * 64}"
[image.arm64.images]
db = "sha256:{"d" * 64} example.org/db:3 example.org/db@sha256:{"f" * 64}"
[image.arm64.packages.root]
apt = "2:1.0+dfsg-1~deb13u1 arm64 debian pool/main/a/apt/apt_1.0_arm64.deb 1234 {SHA256}"
zlib1g = "1.0 arm64 debian-security pool/main/z/zlib1g_1.0_arm64.deb 1234 {SHA256} sid"

[tools.pack.x86-64]
sed = "4.9 amd64 debian pool/main/s/sed/sed_4.9_amd64.deb 1 {SHA256}"
"""

_BLOCK_MAP = f"""\
<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> 65536 </ImageSize>
    <BlockSize> 4096 </BlockSize>
    <BlocksCount> 16 </BlocksCount>
    <MappedBlocksCount> 4 </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> {"0" * 64} </BmapFileChecksum>
    <BlockMap>
        <Range chksum="{SHA256}"> 0-2 </Range>
        <Range chksum="{SHA256}"> 15 </Range>
    </BlockMap>
</bmap>
"""
BLOCK_MAP = _BLOCK_MAP.replace(
    "0" * 64, hashlib.sha256(_BLOCK_MAP.encode()).hexdigest(), 1
).encode()

SETTINGS = """\
hostname = "box-1"
timezone = "Europe/Berlin"
ntp = ["ntp.example.org", "10.0.0.1"]
[network.lan]
interface = "en*"
addresses = ["192.168.1.2/24", "fd00::2/64"]
gateway = "192.168.1.1"
dns = ["192.168.1.1"]
search = ["plant.example.org"]
routes = [{ to = "10.0.0.0/8", via = "192.168.1.3" }]
mtu = 1400
metric = 100
on_link = true
required = false
[network.plc]
vlan = 20
on = "lan"
dhcp = "ipv4"
[k3s]
role = "server"
node_ips = ["192.168.1.2"]
labels = { site = "hall-7" }
taints = ["dedicated=plc:NoSchedule"]
[k3s.config]
"kubelet-arg+" = ["max-pods=16"]
[proxy]
http = "http://proxy.example.org:3128"
no_proxy = ["10.0.0.0/8", ".example.org"]
[registries."docker.io"]
endpoints = ["https://mirror.example.org:5000"]
[wifi]
country = "DE"
networks = [{ ssid = "Hall 3", security = "open" }]
[lte]
apn = "internet"
"""

MANIFESTS = (
    b"""\
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: &all {app: web}}
spec:
  template:
    metadata: {labels: *all}
    spec:
      initContainers: [{name: a, image: nginx:1.29}]
      containers:
      - <<: &base {imagePullPolicy: IfNotPresent}
        name: web
        image: "docker.io/library/nginx:1.29"
      volumes:
      - {name: x, image: {reference: nginx:1.29}}
---
apiVersion: v1
kind: List
items:
- apiVersion: v1
  kind: ConfigMap
  metadata: {name: x}
  data:
    text: |
      a: 1
""",
    b'{\n\t"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"},\n'
    b'\t"spec": {"containers": [{"name": "a", "image": "nginx:1.29"}]}\n}\n',
)

_USER = b"""\
#cloud-config
hostname: box-1
timezone: Europe/Berlin
locale: de_DE.UTF-8
ntp: {enabled: true, servers: [10.0.0.1], pools: [ntp.example.org]}
"""
_V2 = b"""\
network:
  version: 2
  ethernets:
    lan:
      match: {macaddress: "52:54:00:12:34:56"}
      set-name: lan
      addresses: [192.168.1.2/24, "fd00::2/64"]
      routes: [{to: default, via: 192.168.1.1, metric: 100}]
      nameservers: {addresses: [10.0.0.1], search: [plant.local]}
      mtu: "1500"
    eth1: {optional: true}
  vlans:
    vlan20: {id: 20, link: lan, addresses: [10.20.0.2/24]}
  bridges:
    br0: {interfaces: [eth1], dhcp4: "yes", dhcp6: false}
  wifis:
    wlan0:
      access-points: {"Hall 3": {password: "12345678"}}
      regulatory-domain: DE
      dhcp4: true
"""
_V1 = b"""\
version: 1
config:
- type: physical
  name: eth0
  mac_address: "52:54:00:12:34:56"
  mtu: 1400
  subnets:
  - {type: static, address: 192.168.1.2, netmask: 255.255.255.0, gateway: 192.168.1.1}
  - {type: static6, address: "fd00::2/64", gateway: "fd00::1"}
- {type: physical, name: eth1}
- {type: vlan, name: eth0.20, vlan_link: eth0, vlan_id: 20, subnets: [{type: dhcp4}]}
- {type: bond, name: bond0, bond_interfaces: [eth1],
   params: {bond-mode: active-backup}, subnets: [{type: dhcp}]}
- {type: nameserver, address: [10.0.0.1], search: [plant.local]}
- {type: route, destination: 10.0.0.0/8, gateway: 192.168.1.3}
"""
NOCLOUD = (
    (b"instance-id: i-1\nlocal-hostname: box-1\n", _USER, _V2),
    (b"{}", b"#!/bin/sh\nexit 0\n", _V1),
)
"""meta-data, user-data and network-config of one machine."""

FLEET = """\
hostname,disk_serial,network.lan.mac,network.lan.addresses,network.lan.gateway,k3s.role,k3s.labels.site
box-1,S1,52:54:00:12:34:56,"10.0.0.1/24, fd00::1/64",10.0.0.254,,hall-7
# a comment
box-2,S2,52-54-00-12-34-57,10.0.0.2/24,,,
"""

SBOM = {
    "bomFormat": "CycloneDX",
    "metadata": {"component": {"name": "gateway", "version": "1.2"}},
    "components": [
        {"type": "operating-system", "name": "debian", "version": "13",
         "properties": [{"name": "edgeimg:codename", "value": "trixie"}]},
        {"name": "openssl", "purl": "pkg:deb/debian/openssl@3.5.1-1?distro=debian-13"},
        {"name": "golang.org/x/net", "purl": "pkg:golang/golang.org/x/net@v0.40.0"},
    ],
}  # fmt: skip
_RANGE = {"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": "0.41.0"}]}
_PACKAGE = {"ecosystem": "Go", "name": "golang.org/x/net"}
FEEDS = (
    {"openssl": {"CVE-2026-1111": {"description": "A bug.", "releases": {
        "trixie": {"status": "resolved", "fixed_version": "3.5.2-1", "urgency": "high"}}}}},
    {"id": "GO-2026-1", "modified": "2026-01-01T00:00:00Z", "aliases": ["CVE-2026-2"],
     "summary": "A bug.", "affected": [{"package": _PACKAGE, "ranges": [_RANGE]}]},
)  # fmt: skip
