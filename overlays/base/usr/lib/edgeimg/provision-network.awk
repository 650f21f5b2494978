# Prints what is wrong with the first bad line of a provisioned *.network or *.netdev file, nothing
# when it is good. The variable kind is `network` or `netdev`. networkd itself passes over what it
# does not understand, and the gateway would be without an address.
BEGIN {
    count = split("Match Link Network Address Neighbor Route NextHop RoutingPolicyRule DHCPv4 DHCPv6 " \
        "IPv6AcceptRA Bridge CAN NetDev VLAN Bond MACVLAN", list, " ")
    for (i = 1; i <= count; i++) known[list[i]] = 1
}
function bad(what) {
    if (!failed) print what
    failed = 1
    exit
}
function is_address(text,   prefix, part, count, i, groups) {
    # IPv4 or IPv6 (RFC 4291), with a prefix or without.
    prefix = -1
    if (text ~ /\/[0-9][0-9]?[0-9]?$/) {
        prefix = text
        sub(/^.*\//, "", prefix)
        sub(/\/.*$/, "", text)
    }
    if (text ~ /:/ && text ~ /\./) {
        part[1] = text
        sub(/^.*:/, "", part[1])
        if (!is_address(part[1])) return 0
        sub(/[^:]*$/, "0:0", text)
    }
    if (text !~ /:/) {
        count = split(text, part, ".")
        if (count != 4) return 0
        for (i = 1; i <= 4; i++) if (part[i] !~ /^[0-9][0-9]?[0-9]?$/ || part[i] + 0 > 255) return 0
        return prefix + 0 <= 32
    }
    if (text !~ /^[0-9a-fA-F:]+$/ || text ~ /:::/ || text ~ /::.*::/ || text ~ /^:[^:]/ || text ~ /[^:]:$/) return 0
    count = split(text, part, ":")
    for (i = 1; i <= count; i++) {
        if (part[i] !~ /^[0-9a-fA-F]?[0-9a-fA-F]?[0-9a-fA-F]?[0-9a-fA-F]?$/) return 0
        if (part[i] != "") groups++
    }
    return (text ~ /::/ ? groups < 8 : groups == 8) && prefix + 0 <= 128
}
{ sub(/[ \t]+$/, "") }
/^[ \t]*([#;]|$)/ { next }
/^\[.*\]$/ {
    section = substr($0, 2, length($0) - 2)
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
    has[section]++
    has[section "/" key] = text != ""
    if ((key == "Address" || key == "Gateway") && !is_address(text) && text !~ /^_(dhcp4|ipv6ra)$/)
        bad("line " NR ": expected an address, such as " key "=192.168.1.2" (key == "Address" ? "/24" : ""))
}
END {
    if (failed) exit
    if (kind == "network" && !has["Match"]) bad("expected a section [Match] that says which card is meant")
    if (kind == "netdev" && !(has["NetDev/Name"] && has["NetDev/Kind"])) bad("expected Name= and Kind= in [NetDev]")
}
