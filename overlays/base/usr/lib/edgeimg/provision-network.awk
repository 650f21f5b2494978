# Prints what is wrong with the first bad line of a provisioned *.network or *.netdev file, nothing
# when it is good. The variable kind is `network` or `netdev`. networkd itself passes over what it
# does not understand, and the gateway would be without an address. provision-address.awk is read before.
BEGIN {
    count = split("Match Link Network Address Neighbor Route NextHop RoutingPolicyRule DHCPv4 DHCPv6 " \
        "IPv6AcceptRA Bridge CAN NetDev VLAN Bond MACVLAN", list, " ")
    for (i = 1; i <= count; i++) known[list[i]] = 1
    # Keys of systemd 252 to 257, for what people write by hand.
    keys("Match", "Architecture BSSID Credential Driver Firmware Host KernelCommandLine KernelVersion Kind " \
        "MACAddress Name Path PermanentMACAddress Property SSID Type Virtualization WLANInterfaceType")
    keys("Link", "ARP ActivationPolicy AllMulticast Group MACAddress MTUBytes Multicast Promiscuous " \
        "RequiredFamilyForOnline RequiredForOnline Unmanaged")
    keys("Network", "ActiveSlave Address BatmanAdvanced BindCarrier Bond Bridge ConfigureWithoutCarrier DHCP " \
        "DHCPPrefixDelegation DHCPServer DHCPv6PrefixDelegation DNS DNSDefaultRoute DNSOverTLS DNSSEC " \
        "DefaultRouteOnDevice Description Domains EmitLLDP Gateway IPForward IPMasquerade IPVLAN IPVTAP " \
        "IPv4AcceptLocal IPv4Forwarding IPv4LL IPv4LLRoute IPv4LLStartAddress IPv4ProxyARP " \
        "IPv4ReversePathFilter IPv4RouteLocalnet IPv6AcceptRA IPv6DuplicateAddressDetection IPv6Forwarding " \
        "IPv6HopLimit IPv6LinkLocalAddressGenerationMode IPv6MTUBytes IPv6PrivacyExtensions IPv6ProxyNDP " \
        "IPv6ProxyNDPAddress IPv6SendRA IPv6StableSecretAddress IPv6Token IgnoreCarrierLoss KeepConfiguration " \
        "KeepMaster LLDP LLMNR LinkLocalAddressing MACVLAN MACVTAP MulticastDNS NTP PrimarySlave ProxyARP " \
        "RouteTable Tunnel UseDomains VLAN VRF VXLAN Xfrm")
    keys("Address", "AddPrefixRoute Address AutoJoin Broadcast DuplicateAddressDetection HomeAddress Label " \
        "ManageTemporaryAddress NetLabel Peer PreferredLifetime PrefixRoute RouteMetric Scope")
    keys("Route", "Destination FastOpenNoCookie Gateway GatewayOnLink GatewayOnlink HopLimit IPv6Preference " \
        "MTUBytes Metric MultiPathRoute NextHop PreferredSource Protocol QuickAck Scope Source TTLPropagate " \
        "Table Type")
    keys("NetDev", "Description Kind MACAddress MTUBytes Name")
}
function keys(section, names,   count, list, i) {
    count = split(names, list, " ")
    for (i = 1; i <= count; i++) {
        key_of[section, i] = list[i]
        is_key[section, list[i]] = 1
    }
    keys_of[section] = count
}
function least(a, b) { return a < b ? a : b }
function distance(a, b,   i, j, row, above, left) {
    # How many letters differ (Levenshtein).
    for (j = 0; j <= length(b); j++) row[j] = j
    for (i = 1; i <= length(a); i++) {
        above = row[0]
        row[0] = i
        for (j = 1; j <= length(b); j++) {
            left = row[j]
            row[j] = least(least(row[j] + 1, row[j - 1] + 1), above + (substr(a, i, 1) != substr(b, j, 1)))
            above = left
        }
    }
    return row[length(b)]
}
function meant(section, key,   i, far, best) {
    # The key that is almost written; nothing for a right one, and for one that is like none: a
    # newer systemd may have it.
    if ((section, key) in is_key) return ""
    far = length(key) < 6 ? 2 : 3
    for (i = 1; i <= keys_of[section]; i++) {
        if (length(key_of[section, i]) > 3 && distance(tolower(key), tolower(key_of[section, i])) < far) {
            far = distance(tolower(key), tolower(key_of[section, i]))
            best = key_of[section, i]
        }
    }
    return best
}
function bad(what) {
    if (!failed) print what
    failed = 1
    exit
}
{ sub(/[ \t]+$/, "") }
/^[ \t]*([#;]|$)/ { next }
/^\[.*\]$/ {
    section = substr($0, 2, length($0) - 2)
    if (section ~ /^WireGuard/) bad("line " NR ": WireGuard has a file of its own, wireguard.conf")
    if (!(section in known)) bad("line " NR ": unknown section " $0)
    next
}
!/^[A-Za-z0-9]+[ \t]*=/ || /\\$/ { bad("line " NR ": expected 'Key=value' in one line") }
section == "" { bad("line " NR ": expected a section such as [Match] first") }
{
    key = $0
    sub(/[ \t]*=.*/, "", key)
    text = substr($0, index($0, "=") + 1)
    sub(/^[ \t]+/, "", text)
    if ((near = meant(section, key)) != "") bad("line " NR ": unknown key " key "=, did you mean " near "=?")
    has[section]++
    has[section "/" key] = text != ""
    if ((key == "Address" || key == "Gateway") && !is_address(text) && text !~ /^_(dhcp4|ipv6ra)$/)
        bad("line " NR ": expected an address, such as " key "=192.168.1.2" (key == "Address" ? "/24" : ""))
    if (section == "VLAN" && key == "Id" && !(text ~ /^[0-9]+$/ && text + 0 <= 4094))
        bad("line " NR ": expected the number of a VLAN, 0 to 4094")
}
END {
    if (failed) exit
    if (kind == "network" && !has["Match"]) bad("expected a section [Match] that says which card is meant")
    if (kind == "netdev" && !(has["NetDev/Name"] && has["NetDev/Kind"])) bad("expected Name= and Kind= in [NetDev]")
}
