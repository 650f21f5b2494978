"""Settings as people and other tools write them: what is taken, noted and refused.

The inputs are tests/cases/settings.tar.xz; the README of each directory names its sources. It is
made again from a directory that holds them: `tar --sort=name --owner=0 --group=0 --numeric-owner
--mtime=@0 -cJf settings.tar.xz *`. Its ssh keys are whole where the input is about something else.
"""

from __future__ import annotations

import configparser
import shutil
import struct
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from edgeimg.errors import ProvisionError, ReleaseError
from edgeimg.fleet import reading as fleets
from edgeimg.provision import advice, nocloud, reading, zones
from edgeimg.provision.rendering import files
from edgeimg.provision.settings import Settings
from edgeimg.recipe.tables import Image
from edgeimg.release import order
from pydantic import ValidationError

from tests.gateway_root import BASE, KEY, Root

INPUTS = Path(__file__).parents[2] / "cases/settings.tar.xz"
NAMED = {
    "20-registries/ecr": b"e" * 1900,
    "20-registries/jk": b'{\n  "type": "service_account",\n  "private_key": "a\\nb"\n}\n',
    "21-proxy/pw": b"p@ss:w/rd#%\n",
    "22-k3s-config/td": b"pa$$w$(id)rd\n",
    "23-system/id": b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n",
    "23-system/kc.pub": b"ssh-ed25519-cert-v01@openssh.com AAAAIHNzaC1l me@desk\n",
}
"""Files that inputs name and the archive lacks: they look like secrets."""
SECRETS = {
    "20-registries": ("acr", "crlf", "long", "nb", "pw", "u8"),
    "22-k3s-config": ("t2", "tok", "tq", "ts"),
    "23-system": ("k16.pub", "kb.pub", "kd.pub", "ksk.pub", "kt.pub", "p.pub"),
    "30-fleet-csv": ("tok",),
}
"""Files that inputs name."""
SPREADSHEET = "the spreadsheet made a number of it"
ON_LINK = "GatewayOnLink=yes"
PSK = "00ef33a07b61ca4bb0eebed7238fc0b260570ea474f15460cf3b5aaa7660c067"
OF_IMAGE = KEY.replace("me@desk", "image@maker")
OF_CARD = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@desk"
MAC = "MACAddress=dc:a6:32:00:00:01"

TAKEN: dict[str, tuple[str, ...]] = {
    # Lines of the files; "NOTE …" and "WARN …" are parts of a note or a warning, "!…" is a line
    # that is not there.
    "10-user-data-kinds/bom": ("box1",),
    "10-user-data-kinds/crlf": ("box1",),
    "10-user-data-kinds/empty-files": ("NOTE user-data:1: is empty",),
    "10-user-data-kinds/meta-pubkeys-dict": (KEY,),
    "10-user-data-kinds/locale": ("box1", "NOTE locale: has no meaning here"),
    "10-user-data-kinds/meta-json": ("box1", "NOTE dsmode: has no meaning here"),
    "10-user-data-kinds/ntp-full": ("10.0.0.1", "NOTE ntp.ntp_client: has no meaning here"),
    "10-user-data-kinds/sh-with-flags": ("#!/bin/sh -eu",),
    "11-network-config-v2/anchors": ("Name=eth0", "Name=eth1", "DHCP=ipv4"),
    "11-network-config-v2/cards-without-anything": ("DHCP=no", "RequiredForOnline=no"),
    "11-network-config-v2/dhcp-with-static-metric-route": (
        "DHCP=ipv4", "Address=10.1.0.2/24", "Gateway=10.1.0.1", "Metric=2000",
    ),
    "11-network-config-v2/disabled-top": ("NOTE config: has no meaning here", "![Network]"),
    "11-network-config-v2/dns-as-text": ("DNS=8.8.8.8",),
    "11-network-config-v2/ipv6-only": (
        "Address=fd00:1::2/64", "Destination=::/0", "Gateway=fd00:1::1", "DNS=fd00:1::53",
        "IPv6AcceptRA=yes",
    ),
    "11-network-config-v2/route-host": ("Destination=10.20.0.1/32", "Gateway=10.1.0.1"),
    "11-network-config-v2/wakeonlan": ("DHCP=ipv4", "NOTE wakeonlan: has no meaning here"),
    "11-network-config-v2/bridge": ("Kind=bridge", "Bridge=br0", "DHCP=ipv4"),
    "11-network-config-v2/dhcp-with-gateway": ("Gateway=192.168.1.1",),
    "11-network-config-v2/gateway6-linklocal": ("Gateway=fe80::1",),
    "11-network-config-v2/id-with-caps": ("MACAddress=bc:24:11:aa:bb:cc",),
    "11-network-config-v2/long-id": ("Name=en*",),
    "11-network-config-v2/match-no-set-name-quotes": ("DHCP=ipv4",),
    "11-network-config-v2/match-set-name": ("DHCP=ipv4", "NOTE set-name: has no meaning here"),
    "11-network-config-v2/mtu-quoted": ("MTUBytes=1400",),
    "11-network-config-v2/null-card": ("Name=eth0",),
    "11-network-config-v2/version-string": ("Name=eth0",),
    "11-network-config-v2/vlan-caps": ("VLAN=Office", "Id=20"),
    "12-wifi/auth-psk": ("key_mgmt=WPA-PSK",),
    "12-wifi/eth-and-wifi-dhcp": ("RouteMetric=2048",),
    "12-wifi/open-auth-none": ("key_mgmt=NONE", "!ieee80211w=1"),
    "12-wifi/password-digits": ("key_mgmt=WPA-PSK",),
    "12-wifi/password-leading-zero": ("key_mgmt=WPA-PSK",),
    "12-wifi/regdom-lower": ("country=DE",),
    "12-wifi/ssid-emoji-trailing-space": ("ssid=436166c3a920e2989520",),
    "12-wifi/ssid-true": ("ssid=6f6e",),
    "12-wifi/two-cards": ("NOTE all wireless cards join the networks",),
    "13-network-config-v1/accept-ra": ("IPv6AcceptRA=yes",),
    "13-network-config-v1/bond": ("Kind=bond", "Mode=active-backup", "Bond=bond0"),
    "13-network-config-v1/caps-mac-dash": ("MACAddress=BC:24:11:AA:BB:CC",),
    "13-network-config-v1/control-auto": ("DHCP=ipv4",),
    "13-network-config-v1/dns-text": ("DNS=8.8.8.8", "DNS=1.1.1.1"),
    "13-network-config-v1/ipv6-netmask": ("Address=fd00::5/64", "Gateway=fd00::1"),
    "13-network-config-v1/loopback": ("Name=eth0", "!Name=lo"),
    "13-network-config-v1/netmask-number": ("Address=192.168.1.20/24",),
    "13-network-config-v1/manual": ("DHCP=no", "RequiredForOnline=no"),
    "13-network-config-v1/netmask-cidr-both": ("Address=192.168.1.20/24",),
    "13-network-config-v1/proxmox-slaac": ("IPv6AcceptRA=yes",),
    "13-network-config-v1/proxmox-static": ("Gateway=192.168.1.1", "Domains=plant.local"),
    "14-on-link/v1-ipv4-off-subnet": ("Gateway=1.2.3.4", ON_LINK),
    "14-on-link/v1-ipv6-128": ("Gateway=2001:db8:0:10::1", ON_LINK),
    "14-on-link/v2-opennebula-mtu-text": ("MTUBytes=1500", f"!{ON_LINK}"),
    "14-on-link/v2-static4-slaac": ("IPv6AcceptRA=yes", "!IPv6AcceptRA=no"),
    "20-registries/acr-refresh-token.toml": ("user=00000000-0000-0000-0000-000000000000",),
    "20-registries/gar-json-key-base64.toml": ("user=_json_key_base64",),
    "20-registries/caps-registry.toml": ("[Registry.Example.ORG]", "insecure=yes"),
    "20-registries/ecr-token.toml": ("user=AWS", f"password={'e' * 1900}"),
    "20-registries/endpoint-with-port-path-slash.toml": (
        "endpoint=https://mirror.example.org:5000/",
    ),
    "20-registries/http-own-registry-endpoint.toml": ("endpoint=http://registry.lan:5000",),
    "20-registries/ipv6-registry.toml": ("[[fd00::5]:5000]", "insecure=yes"),
    "20-registries/json-key-multiline.toml": (
        "user=_json_key", 'password={"type":"service_account","private_key":"a\\nb"}',
    ),
    "20-registries/password-utf8.toml": ("password=größe€",),
    "20-registries/user-domain-backslash.toml": ("user=PLANT\\ops",),
    "20-registries/user-email.toml": ("user=ops@example.org",),
    "21-proxy/creds-special.toml": (
        "HTTP_PROXY=http://PLANT%5Cops:p%40ss%3Aw%2Frd%23%25@proxy.lan:3128",
    ),
    "21-proxy/dualstack-ranges.toml": ('  - "fd42::/56"', '  - "fd43::/112"'),
    "22-k3s-config/disable-list.toml": ("disable+:", '  - "traefik"', '  - "servicelb"'),
    "22-k3s-config/flannel-iface.toml": (
        'flannel-iface: "eth0.20"', 'node-external-ip: "203.0.113.5"',
    ),
    "22-k3s-config/server-agent-token.toml": ('token: "hush"', 'agent-token: "hush"'),
    "22-k3s-config/server-no-port.toml": (
        'server: "https://10.0.0.1"', "WARN K3s asks port 443: https://10.0.0.1:6443 is usual",
    ),
    "22-k3s-config/token-dollar.toml": ('token: "pa$$w$(id)rd"',),
    "23-system/host-digits.toml": ("0815",),
    "23-system/tz-casablanca.toml": ("# Africa/Casablanca",),
    "23-system/tz-est5edt.toml": ("EST5EDT,M3.2.0,M11.1.0",),
    "23-system/tz-old.toml": ("EET-2EEST,M3.5.0/3,M10.5.0/4",),
    "24-network-toml/addr-overlap.toml": ("WARN 192.168.1.5/24 is in 192.168.1.0/24 of network.b",),
    "24-network-toml/pattern-and-card.toml": ("Name=en*", "Name=enp1s0", "Address=10.0.0.2/24"),
    "24-network-toml/two-dhcp.toml": ("Name=enp1s0", "WARN may both have a default route"),
    "24-network-toml/vlan-dots.toml": ("VLAN=eth0.20", "Id=20"),
    "24-network-toml/vlan-name-like-card.toml": ("Name=eth0", "Name=eth1"),
    "20-registries/harbor-robot.toml": ('password=pa$$w"o\\rd#1',),
    "20-registries/ipv6-endpoint.toml": ("endpoint=https://[fd00::5]:5000",),
    "20-registries/password-crlf.toml": ("password=hush",),
    "22-k3s-config/taint-no-value.toml": ('  - "dedicated:NoSchedule"',),
    "23-system/bom-toml.toml": ("box-1",),
    "23-system/crlf-toml.toml": ("box-1", "CET-1CEST,M3.5.0,M10.5.0/3"),
    "23-system/tz-gmt.toml": ("<-05>5",),
    "24-network-toml/dhcp-and-wifi.toml": ("RouteMetric=2048",),
    "24-network-toml/gateway-32.toml": ("Gateway=172.31.1.1", ON_LINK),
    "24-network-toml/mac-bare.toml": (MAC,),
    "24-network-toml/mac-cisco.toml": (MAC,),
    "24-network-toml/mac-dashes.toml": ("MACAddress=DC-A6-32-00-00-01".replace("-", ":"),),
    "30-fleet-csv/bools-german.csv": ("DHCP=yes",),
    "30-fleet-csv/bools.csv": ("DHCP=yes", "DHCP=ipv4", "RequiredForOnline=no"),
    "30-fleet-csv/cr-only.csv": ("box-2",),
    "30-fleet-csv/gateway-claims.csv": ("Gateway=10.0.0.2", "Gateway=10.0.0.1"),
    "30-fleet-csv/header-spaces.csv": ("box-1", "Address=10.0.0.1/24"),
    "30-fleet-csv/inch-quote.csv": ("box-1",),
    "30-fleet-csv/nbsp-zwsp.csv": ("box-1", "Address=10.0.0.1/24"),
    "30-fleet-csv/one-column.csv": ("box-1", "box-2"),
    "30-fleet-csv/pod-range-overlap.csv": (
        "Address=10.42.0.5/16", "WARN 10.42.0.5/16 overlaps 10.42.0.0/16",
    ),
    "30-fleet-csv/site.toml": (KEY.replace("me@desk", "me"), "CET-1CEST,M3.5.0,M10.5.0/3"),
    "30-fleet-csv/labels-dotted.csv": ('  - "topology.kubernetes.io/zone=z1"',),
    "30-fleet-csv/quoted-newline-cell.csv": ("Address=10.0.1.1/24",),
    "30-fleet-csv/semicolons-bom-crlf.csv": ("Address=fd00::1/64",),
    "30-fleet-csv/trailing-empty-cols.csv": ("Address=10.0.0.1/24",),
}  # fmt: skip
REFUSED: dict[str, tuple[str, ...]] = {
    "10-user-data-kinds/key-options": ("refuses a key with the option 'from': leave it out",),
    "10-user-data-kinds/header-with-space": ("expected #cloud-config", "understood: hostname"),
    "10-user-data-kinds/hostname-caps": ("as 'line3-gw'",),
    "10-user-data-kinds/hostname-is-fqdn": ("as 'box1'",),
    "10-user-data-kinds/bash-script": ("found '#!/bin/bash'; a gateway has no other shell",),
    "10-user-data-kinds/hostname-int": (":2: hostname: expected a name: put it in quotes",),
    "10-user-data-kinds/latin1-comment": (":2: not UTF-8 text",),
    "10-user-data-kinds/multiple-docs": (":4: a second document: expected one",),
    "10-user-data-kinds/tabs": (":4: not YAML: a tab in front of a value",),
    "10-user-data-kinds/k3os": (
        "k3os: is not supported; say it in a TOML file of settings: [k3s]", "do not fetch keys",
        "understood: hostname",
    ),
    "10-user-data-kinds/kairos": (
        "users: is not supported; the only login is root's",
        "k3s: is not supported; say it in a TOML file",
    ),
    "10-user-data-kinds/rpi-imager-2": (
        "users: is not supported; the only login is root's", "keyboard: has no meaning here",
        "manage_etc_hosts: has no meaning here", "ssh_pwauth: has no meaning here",
        "understood: hostname, timezone",
    ),
    "10-user-data-kinds/utf16": ("save it as UTF-8",),
    "10-user-data-kinds/vendor-data-beside": ("not read: vendor-data",),
    "11-network-config-v2/address-label": (":4: ethernets.eth0.addresses: expected a list of",),
    "11-network-config-v2/macaddress-set": ("macaddress: is not supported; a card keeps its own",),
    "11-network-config-v2/modem": ("say it in a TOML file of settings: [lte]",),
    "11-network-config-v2/no-version": ("expected version: 1 or version: 2",),
    "11-network-config-v2/gateway4-off-subnet": ("192.168.2.1 is in none", "on_link = true"),
    "11-network-config-v2/host-bits-route": ("expected a network such as '10.20.0.0/16'",),
    "11-network-config-v2/ipv6-zone": ("expected 'fe80::1', without the name of a card",),
    "11-network-config-v2/route-metric": ("dhcp4-overrides.use-dns: is not supported",),
    "12-wifi/auth-eap": ("key-management: expected one of none, psk, sae",),
    "12-wifi/bssid-band": ("bssid: is not supported", "band: is not supported", "leave it out"),
    "12-wifi/no-regdom": (":3: wifis.wlan0.regulatory-domain: expected the country",),
    "12-wifi/ssid-33-bytes": (":7: wifi.networks.0.ssid: expected the name of a network, of 1 to",),
    "13-network-config-v1/static-no-prefix": ("expected an address with its prefix, such as",),
    "12-wifi/password-utf8": ("8 to 63 characters (ASCII)",),
    "20-registries/key-url.toml": ("expected 'registry.lan:5000', without anything around it",),
    "20-registries/password-nbsp.toml": ("the character U+00A0 in it: expected one line of text",),
    "20-registries/star-and-docker.toml": (
        "* and docker.io differ about m.example.org: expected the same user",
    ),
    "21-proxy/creds-in-url.toml": ("user and password apart from the address: 'user', 'password",),
    "21-proxy/ipv6-noproxy.toml": (":3: proxy.no_proxy.4: expected a host, a domain such as",),
    "21-proxy/ipv6.toml": (":3: proxy.no_proxy.1: expected an IPv6 address without brackets",),
    "21-proxy/no-port.toml": ("expected an address such as 'http://proxy.lan:3128'",),
    "21-proxy/socks.toml": ("expected a proxy for http",),
    "21-proxy/underscore.toml": ("expected an address such as 'http://proxy.lan:3128'",),
    "22-k3s-config/colon-values.toml": (
        '[provision] allow = ["k3s.kube-apiserver-arg.audit-log-path"]',
    ),
    "22-k3s-config/empty-list.toml": ("an empty list changes nothing on a gateway: remove it",),
    "22-k3s-config/label-long-value.toml": ("at most 63",),
    "22-k3s-config/secrets-in-config.toml": ('[provision] allow = ["k3s.datastore-endpoint"]',),
    "22-k3s-config/server-http.toml": ("expected an address such as 'https://10.0.0.1:6443'",),
    "22-k3s-config/token-trailing-spaces.toml": ("expected a token, without spaces",),
    "22-k3s-config/write-kubeconfig-mode.toml": ('allow = ["k3s.write-kubeconfig-mode"]',),
    "23-system/host-underscore.toml": ("as 'gw-halle7'",),
    "23-system/key-wrapped.toml": ("expected a public ssh key, such as",),
    "23-system/keyfile-cert.toml": ("line 1", "and this is a certificate"),
    "23-system/keyfile-private.toml": ("line 1", "this is a private one: name *.pub",),
    "23-system/ntp-port.toml": ("expected the name or address of a server",),
    "23-system/ntp-trailing-dot.toml": ("expected the name or address of a server",),
    "24-network-toml/addr-broadcast.toml": ("between 192.168.1.1 and 192.168.1.254",),
    "24-network-toml/addr-leading-zero.toml": ("expected an address with its prefix, such as",),
    "24-network-toml/addr-loopback.toml": ("this one is the gateway itself",),
    "24-network-toml/addr-network.toml": ("between 192.168.1.1 and 192.168.1.254",),
    "24-network-toml/iface-altname.toml": ("of at most 15 characters",),
    "24-network-toml/mtu-small-ipv6.toml": ("mtu: IPv6 needs 1280 bytes or more",),
    "24-network-toml/zone-dns.toml": ("expected 'fe80::1', without the name of a card",),
    "30-fleet-csv/cp1252.csv": (":2: not UTF-8 text",),
    "30-fleet-csv/dup-rows.csv": (":3: hostname: box-1 is that of box-1 already (line 2)",),
    "30-fleet-csv/empty.csv": ("there is no line of column names",),
    "30-fleet-csv/excel-date-hostname.csv": (":2: hostname: ", "as '01-mar'"),
    "30-fleet-csv/header-caps.csv": ("did you mean 'hostname'?", "did you mean 'serial'?"),
    "30-fleet-csv/html.csv": (":1: expected the names of the columns in this line",),
    "30-fleet-csv/numbers.csv": (":3: network.lan.mtu: expected a whole number, found '1,400'",),
    "20-registries/endpoint-bare.toml": ("such as 'https://mirror.example.org:5000'",),
    "22-k3s-config/label-role.toml": ("may give itself topology.kubernetes.io/zone",),
    "22-k3s-config/label-umlaut.toml": ("expected letters, digits, '-', '_' and '.'",),
    "22-k3s-config/node-ip-zone.toml": ("expected 'fe80::1', without the name of a card",),
    "22-k3s-config/token-two-lines.toml": ("one line of text",),
    "23-system/host-caps.toml": ("as 'gw-halle7'",),
    "23-system/host-localhost.toml": ("every machine is localhost",),
    "23-system/keyfile-dss.toml": ("ssh-dss is not accepted",),
    "23-system/keyfile-putty.toml": ("ssh-keygen -i -f",),
    "23-system/keyfile-truncated.toml": ("line 1", "the key is cut off"),
    "23-system/keyfile-utf16.toml": ("save it as UTF-8",),
    "23-system/tz-utc+1.toml": ("expected 'Etc/GMT-1'",),
    "23-system/utf16-toml.toml": ("save it as UTF-8",),
    "24-network-toml/addr-duplicate.toml": ("192.168.1.5 is there twice",),
    "24-network-toml/mac-zero.toml": ("expected the MAC address of one card",),
    "24-network-toml/vlan-called-cni0.toml": ("choose another",),
    "24-network-toml/vlan-called-flannel.toml": ("choose another",),
    "24-network-toml/zone-address.toml": ("expected 'fe80::5', without the name of a card",),
    "30-fleet-csv/excel-mac-scientific.csv": (f":2: network.lan.mac: {SPREADSHEET}",),
    "30-fleet-csv/formula-injection.csv": (":2: serial: expected the value alone",),
    "30-fleet-csv/mac-case-dup.csv": ("is that of box-1 already",),
    "30-fleet-csv/newline-separated-list.csv": ("expected ',' between several values",),
    "30-fleet-csv/semicolon-list-in-cell.csv": ("expected ',' between several values",),
    "30-fleet-csv/serial-scientific.csv": (
        f":2: serial: {SPREADSHEET}", f":2: disk_serial: {SPREADSHEET}", ":3: disk_serial",
    ),
    "30-fleet-csv/title-row.csv": (":1: expected the names of the columns",),
    "30-fleet-csv/unbalanced-quote.csv": (":2: no CSV: a quotation mark of this row has no end",),
    "30-fleet-csv/zip-xlsx.csv": ("the file of a spreadsheet",),
}  # fmt: skip


UNKNOWN = "unknown, expected one of hostname"
BY_HAND: dict[str, tuple[str, ...] | str] = {
    # Lines of files of the gateway, by its own scripts; or what its screen shows.
    "editor-backup": ("box-1",),
    "hostname-blank-line-first": "hostname: expected one name",
    "hostname-trailing-blank": "hostname: expected one name",
    "hostname-two-lines": "hostname: expected one name",
    "hostname-without-newline": ("box-1", "127.0.1.1 box-1"),
    "k3s-comment-after-value": "k3s.yaml: line 1: put the comment into a line of its own",
    "k3s-indented-list-tabs": "k3s.yaml: holds control characters (a tab)",
    "k3s-real-config": 'allow = ["k3s.write-kubeconfig-mode"]',
    "k3s-without-newline": ('server: "https://10.0.0.1:6443"', 'token: "abc"'),
    "keys-crlf-notepad": (OF_IMAGE, OF_CARD),
    "keys-image-without-newline": (OF_IMAGE, OF_CARD),
    "mac-os-leftovers": ("box-1",),
    "network-example-v": ("Address=192.168.1.2/24", "Gateway=192.168.1.1"),
    "network-no-match-content": "expected a section [Match] that says which card is meant",
    "network-wireguard": "WireGuard has a file of its own, wireguard.conf",
    "ntp-without-newline": ("NTP=10.0.0.1 ntp.example.org",),
    "proxy-noproxy-last-without-newline": ("HTTPS_PROXY=http://p.lan:3128",),
    "proxy-without-newline": ("HTTP_PROXY=http://p.lan:3128", "HTTPS_PROXY=http://p.lan:3128"),
    "registries-without-newline": ('username = "u"', 'password = "p"'),
    "registries-yaml-by-name": f"registries.yaml: {UNKNOWN}",
    "wifi-hash-psk": (f"psk={PSK}",),
    "wifi-quote-in-psk": "line 4: put the value of psk in double quotes, without one in it",
    "windows-leftovers": ("box-1",),
}  # fmt: skip
ROWS = {
    1: "settings_cases.py::test_files_written_by_hand",
    2: "settings_cases.py::test_versions_that_gateways_do_not_order_as_people_do",
    3: "container_cases.py::test_pods_by_every_spelling_of_an_image_find_it",
    4: "container_cases.py::test_pods_by_every_spelling_of_an_image_find_it",
    5: "workloads.py::test_a_byte_order_mark_does_not_get_into_the_file",
    6: "container_cases.py::test_manifest",
    7: "workload_operators.py::test_what_may_start_other_images",
    **dict.fromkeys((8, 9, 10, 11, 14, 15, 16, 17), "container_cases.py::test_image"),
    12: "container_cases.py::test_architecture",
    13: "container_cases.py::test_of_two_variants_the_newer_one_that_runs_is_taken",
    18: "container_cases.py::test_packages",
    19: "container_cases.py::test_packages",
    **dict.fromkeys((20, 21, 22, 23, 24, 26, 27), "settings_cases.py::test_it_is_taken"),
    25: "settings_kinds.py::test_warnings",
    28: "provision_agree.py::test_what_the_desk_accepts_the_gateway_accepts",
    29: "settings_cases.py::test_it_is_taken",
    30: "provision_settings.py::test_without_a_default_route_a_node_has_its_fixed_address",
    **dict.fromkeys((31, 32, 34, 35, 37, 44, 46), "settings_cases.py::test_it_is_taken"),
    33: "settings_cases.py::test_it_is_refused_in_words",
    **dict.fromkeys((36, 38, 39, 40, 42, 49, 54), "settings_cases.py::test_it_is_refused_in_words"),
    41: "settings_cases.py::test_it_is_taken",
    43: "settings_cases.py::test_it_is_taken",
    45: "settings_kinds.py::test_it_is_refused_in_words",
    47: "settings_cases.py::test_a_cluster_of_two_families_is_spared_by_the_proxy",
    48: "settings_cases.py::test_a_network_that_k3s_uses_too_is_a_warning",
    50: "settings_cases.py::test_a_zone_whose_rule_does_not_hold_yet_is_a_warning",
    51: "settings_cases.py::test_a_pattern_comes_behind_the_card",
    52: "settings_kinds.py::test_keys_that_networkd_would_pass_over",
    53: "settings_cases.py::test_files_written_by_hand",
    55: "nocloud_others.py::test_forms_of_a_mac_address",
    56: "settings_cases.py::test_it_is_taken",
    57: "flash.py::test_what_is_mapped_is_on_the_disk_and_nothing_else_is_touched",
    58: "pack_disk.py::test_script_for_sfdisk",
    59: "settings_cases.py::test_a_slow_disk_is_waited_for",
    60: "settings_cases.py::test_versions_that_gateways_do_not_order_as_people_do",
}
"""The test of each row of the table of cases."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cases")
    with tarfile.open(INPUTS) as archive:
        archive.extractall(folder, filter="data")
    for name, content in NAMED.items():
        (folder / name).write_bytes(content)
    return folder


def lines(path: Path) -> set[str]:
    """What comes of an input: lines of files, and notes."""
    notes: list[str] = []

    def ask(purpose: str) -> str:
        return "hush-hush" if purpose else ""

    if path.is_dir():
        settings = [nocloud.load(nocloud.find(path), ask, notes.append)]
    elif path.suffix == ".csv":
        settings = [gateway.settings for gateway in fleets.load(path, ask=ask).gateways]
    else:
        settings = [reading.load(path, ask)]
    found = [content for one in settings for content in files(one).values()]
    text = b"".join(found).decode()
    told = {f"NOTE {note}" for note in notes}
    told |= {f"WARN {line}" for one in settings for line in advice.warnings(one)}
    return {line.strip("\t") for line in text.splitlines()} | told


def test_every_input_is_in_a_table(inputs: Path) -> None:
    found = {str(path.relative_to(inputs)) for path in inputs.glob("*/*") if path.name != "README"}
    secrets = {f"{folder}/{name}" for folder, names in SECRETS.items() for name in names}
    by_hand = {f"25-no-final-newline/{name}" for name in BY_HAND}
    assert found == {*TAKEN, *REFUSED, *NAMED, *secrets, *by_hand}
    assert not TAKEN.keys() & REFUSED.keys()


def test_every_row_has_a_test() -> None:
    assert sorted(ROWS) == list(range(1, 61))
    for name in ROWS.values():
        file, _, test = name.partition("::")
        (path,) = Path(__file__).parents[1].rglob(f"test_{file}")
        assert f"\ndef {test}(" in path.read_text(), name


@pytest.mark.parametrize("case", BY_HAND)
def test_files_written_by_hand(inputs: Path, tmp_path: Path, case: str) -> None:
    root, source = Root(tmp_path), inputs / "25-no-final-newline" / case
    if (of_image := source / "authorized_keys.of-overlay").exists():
        shutil.copy(of_image, tmp_path / "etc/edgeimg/ssh/authorized_keys")
    shutil.copytree(source / "edgeimg", root.config, dirs_exist_ok=True)
    told, expected = root.start(), BY_HAND[case]
    if isinstance(expected, str):
        assert expected in told
        return
    assert told == ""
    written = [path for name in ("etc", "run") for path in (tmp_path / name).rglob("*")]
    content = b"\n".join(path.read_bytes() for path in written if path.is_file())
    found = [line.strip() for line in content.decode(errors="replace").splitlines()]
    assert not set(expected) - set(found)


def test_a_cluster_of_two_families_is_spared_by_the_proxy(inputs: Path, tmp_path: Path) -> None:
    root = Root(tmp_path)
    root.put(files(reading.load(inputs / "21-proxy/dualstack-ranges.toml")))
    assert root.start() == ""
    spared = root.read("run/edgeimg/proxy.env").rpartition("NO_PROXY=")[2].split(",")
    assert {"10.42.0.0/16", "fd42::/56", "10.43.0.0/16", "fd43::/112"} <= set(spared)


def test_a_pattern_comes_behind_the_card(inputs: Path) -> None:
    found = files(reading.load(inputs / "24-network-toml/pattern-and-card.toml"))
    assert [name for name in sorted(found) if b"Name=enp1s0" in found[name]] < [
        name for name in sorted(found) if b"Name=en*" in found[name]
    ]


def test_a_slow_disk_is_waited_for() -> None:
    unit = BASE / "usr/lib/systemd/system/dev-disk-.device.d/10-edgeimg.conf"
    parser = configparser.ConfigParser()
    parser.read(unit)
    assert parser["Unit"]["JobRunningTimeoutSec"] == "15min"


@pytest.mark.parametrize("case", TAKEN)
def test_it_is_taken(inputs: Path, case: str) -> None:
    found = lines(inputs / case)
    for line in TAKEN[case]:
        if line[:5] in ("NOTE ", "WARN "):
            assert any(line[5:] in one for one in found if one[:5] == line[:5])
        elif line.startswith("!"):
            assert line[1:] not in found
        else:
            assert line in found


@pytest.mark.parametrize("case", REFUSED)
def test_it_is_refused_in_words(inputs: Path, case: str) -> None:
    with pytest.raises(ProvisionError) as caught:
        lines(inputs / case)
    for words in REFUSED[case]:
        assert words in caught.value.message


def test_a_network_that_k3s_uses_too_is_a_warning(inputs: Path) -> None:
    def told(**k3s: object) -> list[str]:
        row = fleets.load(inputs / "30-fleet-csv/pod-range-overlap.csv").gateways[0].settings
        lan = {"lan": row.network["lan"].model_dump(exclude_unset=True)}
        return advice.warnings(Settings.model_validate({"network": lan, "k3s": k3s}))

    assert len(told()) == 1
    assert "10.42.0.5/16 overlaps 10.42.0.0/16" in told()[0]
    assert 'cluster-cidr = "172.' in told()[0]
    assert told(config={"cluster-cidr": "172.20.0.0/16"}) == []
    lan = {"interface": "eth0", "addresses": ["fd42::5/64", "172.20.0.5/16"]}
    k3s = {"config": {"cluster-cidr": ["10.1.0.0/16", "fd42::/56"]}}
    (line,) = advice.warnings(Settings.model_validate({"network": {"lan": lan}, "k3s": k3s}))
    assert 'cluster-cidr = "fd10::/56"' in line
    lan["addresses"] = ["10.42.0.5/24", "172.20.0.5/16"]
    (line,) = advice.warnings(Settings.model_validate({"network": {"lan": lan}}))
    assert 'cluster-cidr = "172.21.0.0/16"' in line


def test_a_zone_whose_rule_does_not_hold_yet_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    # A file of tzdata with a transition on 2027-03-14 to what its last line says.
    transition = int(datetime(2027, 3, 14, 5, tzinfo=UTC).timestamp())
    head = b"TZif2" + bytes(15)
    old = head + struct.pack(">6I", 0, 0, 0, 0, 1, 4) + bytes(6) + b"UTC\0"
    counts = struct.pack(">6I", 0, 0, 0, 1, 2, 8)
    kinds = struct.pack(">q B iBB iBB", transition, 1, -4 * 3600, 0, 0, -5 * 3600, 0, 4)
    stored = old + head + counts + kinds + b"NOW\0LAT\0" + b"\nLAT5\n"
    monkeypatch.setattr(zones, "_stored", lambda _: stored)
    before, after = (datetime(2027, 3, day, tzinfo=UTC) for day in (1, 15))
    zones.differs.cache_clear()
    assert zones.differs("America/Havana", before) == before
    assert zones.differs("America/Havana", after) is None
    assert zones.fixed("America/Havana", before) == "<-04>4"
    monkeypatch.setattr(zones, "differs", lambda zone, _: before if "/" in zone else None)
    settings = Settings.model_validate({"timezone": "America/Havana"})
    (line,) = advice.warnings(settings)
    assert "wrong from 2027-03-01 00:00 UTC" in line
    assert "set '<-04>4' on 2027-03-01, not before," in line
    assert advice.warnings(Settings.model_validate({"timezone": "CET-1"})) == []


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Asia/Kolkata", "Etc/GMT-1", "CET-1"])
def test_zones_without_changes_ahead(zone: str) -> None:
    assert zones.differs(zone, datetime(2026, 11, 29, tzinfo=UTC)) is None
    if "/" in zone:
        assert zones.is_rule(zones.fixed(zone, datetime(2026, 11, 29, tzinfo=UTC)))


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("192.168.1.255/24", "192.168.1.255/24 is the address for broadcast"),
        ("192.168.1.0/24", "192.168.1.0/24 is the address of the network"),
        ("10.0.3.255/22", "expected one between 10.0.0.1 and 10.0.3.254"),
        ("10.0.0.3/30", "is the address for broadcast"),
        ("10.0.0.255/22", ""),
        ("10.0.1.0/22", ""),
        ("10.0.0.1/31", ""),
        ("10.0.0.0/31", ""),
        ("10.0.0.0/32", ""),
        ("fd00::/64", ""),
    ],
)
def test_the_first_and_the_last_address_of_a_network(address: str, reason: str) -> None:
    data = {"network": {"lan": {"interface": "en*", "addresses": [address]}}}
    if not reason:
        assert Settings.model_validate(data).network["lan"].addresses == (address,)
        return
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(data)
    assert reason in str(caught.value)


def sheet(folder: Path, content: bytes) -> set[str]:
    path = folder / "gateways.csv"
    path.write_bytes(content)
    return lines(path)


@pytest.mark.parametrize("first", ["sep=;\n", "SEP=;\r\n", '"sep=;"\n'])
def test_the_separator_of_a_spreadsheet(tmp_path: Path, first: str) -> None:
    rows = f"{first}hostname;ntp\nbox-1;10.0.0.1,10.0.0.2\n"
    assert {"box-1", "10.0.0.2"} <= sheet(tmp_path, rows.encode())
    assert {"box-1", "10.0.0.2"} <= sheet(tmp_path, rows.encode("utf-16"))


@pytest.mark.parametrize("cell", ["'00012345", '"=""00012346"""', "1,23457E+15", "vielleicht"])
def test_what_a_spreadsheet_made_of_a_cell(tmp_path: Path, cell: str) -> None:
    column = "network.lan.required" if cell == "vielleicht" else "serial"
    rows = "hostname;network.lan.interface;{}\nbox-1;eth0;{}\n"
    assert sheet(tmp_path, rows.format("serial", "00012345").encode())
    with pytest.raises(ProvisionError, match=rf":2: {column}: "):
        sheet(tmp_path, rows.format(column, cell).encode())


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("1.1.0~rc1", "never see"), ("1.1.0^1", "never see"), ("1.1.0-rc1", "newer than 1.1.0"),
        ("1.1.0-beta.2", "newer than 1.1.0"), ("2rc1", "newer than 2"), ("1_0", "such as '1.2.0'"),
        ("1.1.0-SNAPSHOT", "newer than 1.1.0"), ("1.1.0.dev4", "newer than 1.1.0"),
        ("1.1.0a1", "newer than 1.1.0"), ("1.1.0-nightly", "newer than 1.1.0"),
        ("1.1.0-m2", "newer than 1.1.0"), ("latest", "larger numbers"), ("main", "larger numbers"),
    ],
)  # fmt: skip
def test_versions_that_gateways_do_not_order_as_people_do(version: str, why: str) -> None:
    for good in ("1.1.0-2", "v1.1.0", "1.1.0.post1", "1.1.0-1-gabcdef", "2026.11.29", "1.1.0a"):
        assert Image.model_validate({"version": good}).version == good
    with pytest.raises(ValidationError, match=why):
        Image.model_validate({"version": version})


def test_versions_are_ordered_as_systemd_does() -> None:
    # The examples of the version format specification of the UAPI group.
    right = ["~", "", "ab", "abb", "abc", "0001", "002", "12", "122", "122.9", "123~rc1", "123",
             "123-a", "123-a.1", "123-a1", "123-a1.1", "123-3", "123-3.1", "123^patch1", "123^1",
             "123.a", "123.1", "123a-1", "124"]  # fmt: skip
    for number, version in enumerate(right):
        assert not order.is_older(version, version)
        for later in right[number + 1 :]:
            assert order.is_older(version, later), (version, later)
            assert not order.is_older(later, version), (version, later)


def test_a_release_is_not_older_than_one_before() -> None:
    order.require("1.1.0", ["1.0.9", "1.0.10"])
    with pytest.raises(ReleaseError, match=r"1\.1\.0 is older than 1\.1\.0-rc1"):
        order.require("1.1.0", ["1.0.9", "1.1.0-rc1"])
