# Reads a provisioned wireguard.conf, which is a file of wg-quick(8) without its commands: a section
# [Interface] and sections [Peer]. provision-address.awk is read before. The variable `what` says what
# is printed:
#   check    what is wrong with the first bad line, nothing when it is good. No key is repeated
#   netdev   the device, for systemd.netdev(5); where no PrivateKey is said, it is in the file `made`
#   network  its addresses, for systemd.network(5)
function bad(text) {
    if (!failed) print text
    failed = 1
    exit
}
function wrong(text) {
    bad("line " NR ": " text)
}
function is_key(text) {
    # 32 bytes in base64 (RFC 4648).
    return length(text) == 44 && text ~ "^[A-Za-z0-9+/]+[AEIMQUYcgkosw048]=$"
}
function is_number(text, least, most) {
    return text ~ /^[1-9][0-9]?[0-9]?[0-9]?[0-9]?$/ && text + 0 >= least && text + 0 <= most
}
function use(key, purpose) {
    # A key has one use; several peers may share a preshared one.
    if (!is_key(key)) wrong("expected a key of 44 signs, as wg genkey and wg pubkey print them")
    if (key ~ /^A+=$/) wrong("this key is all zeros")
    if (key in use_of && !(purpose == "preshared" && use_of[key] == purpose))
        wrong("this key is used in another place already")
    use_of[key] = purpose
}
function is_endpoint(text,   port, host) {
    port = host = text
    sub(/^.*:/, "", port)
    sub(/:[^:]*$/, "", host)
    if (!is_number(port, 1, 65535)) return 0
    if (host ~ /^\[.*\]$/) {
        host = substr(host, 2, length(host) - 2)
        if (host !~ /:/ || host ~ /\// || !is_address(host)) return 0
        literal[peers] = network_of(host)
        return 1
    }
    if (host ~ /^[0-9.]+$/) {
        if (!is_address(host)) return 0
        literal[peers] = network_of(host)
        return 1
    }
    return length(host) <= 253 && host ~ /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/
}
function add_address(text,   bits, prefix) {
    if (text !~ /\// || !is_address(text)) wrong("expected an address with its prefix, such as 10.8.0.2/24")
    bits = bits_of(text)
    prefix = prefix_of(text)
    if (bits in own) wrong("this address is there twice")
    own[bits] = 1
    if (text !~ /:/ && prefix < 31 && (substr(bits, prefix + 1) !~ /1/ || substr(bits, prefix + 1) !~ /0/))
        wrong("expected the address of a host: this is the first or the last one of its network")
    if (text ~ /:/) has_v6 = 1
    address[++addresses] = text
}
function add_network(text,   network, i) {
    if (!is_address(text)) wrong("expected a network such as 10.8.0.0/24")
    if (prefix_of(text) == 0) wrong("this is everything: name the networks behind the peer")
    if (substr(bits_of(text), prefix_of(text) + 1) ~ /1/)
        wrong("expected a network such as 10.8.0.0/24: this is an address in one")
    network = network_of(text)
    for (i = 1; i <= networks; i++)
        if (peer_of[i] != peers && overlaps(network, behind[i])) wrong("this network overlaps one of another peer")
    behind[++networks] = network
    peer_of[networks] = peers
    allowed[peers] = allowed[peers] "AllowedIPs=" text "\n"
}
function each(kind,   part, count, i, text) {
    count = split(value, part, ",")
    for (i = 1; i <= count; i++) {
        text = part[i]
        gsub(/[ \t]/, "", text)
        if (kind == "address") add_address(text)
        else if (kind == "network") add_network(text)
        else if (text ~ /\// || !is_address(text)) wrong("expected the address of a name server")
        else dns = dns "DNS=" text "\n"
    }
    if (!count) wrong("expected a value")
}
function end_peer() {
    if (!peers) return
    if (!(peers in public)) bad("peer " peers ": expected PublicKey = ...")
    if (!(peers in allowed)) bad("peer " peers ": expected AllowedIPs = ..., the networks behind it")
}
{
    sub(/#.*/, "")
    sub(/^[ \t]+/, "")
    sub(/[ \t]+$/, "")
}
$0 == "" { next }
tolower($0) == "[interface]" {
    if (sections++) wrong("expected [Interface] first, and once")
    next
}
tolower($0) == "[peer]" {
    if (!sections) wrong("expected [Interface] first")
    end_peer()
    peers++
    next
}
/^\[/ { wrong("unknown section, expected [Interface] or [Peer]") }
!sections { wrong("expected [Interface] first") }
!/=/ { wrong("expected Key = value") }
{
    key = tolower($0)
    sub(/[ \t]*=.*/, "", key)
    value = substr($0, index($0, "=") + 1)
    sub(/^[ \t]+/, "", value)
    if (key !~ /^(address|dns|allowedips)$/ && seen[peers, key]++) wrong("this is there twice")
}
!peers && key == "privatekey" { use(value, "private"); private = value; next }
!peers && key == "address" { each("address"); next }
!peers && key == "dns" { each("dns"); next }
!peers && key == "listenport" {
    if (!is_number(value, 1, 65535)) wrong("expected a port, 1 to 65535")
    port = value
    next
}
!peers && key == "mtu" {
    if (!is_number(value, 576, 9000)) wrong("expected a number of bytes, 576 to 9000")
    mtu = value
    next
}
peers && key == "publickey" { use(value, "public"); public[peers] = value; next }
peers && key == "presharedkey" { use(value, "preshared"); shared[peers] = value; next }
peers && key == "allowedips" { each("network"); next }
peers && key == "endpoint" {
    if (!is_endpoint(value)) wrong("expected HOST:PORT, such as vpn.example.org:51820 or [2001:db8::1]:51820")
    endpoint[peers] = value
    next
}
peers && key == "persistentkeepalive" {
    if (!is_number(value, 1, 65535)) wrong("expected a number of seconds, 1 to 65535")
    keepalive[peers] = value
    next
}
{
    wrong("expected " (peers ? "PublicKey, PresharedKey, Endpoint, AllowedIPs or PersistentKeepalive" \
        : "PrivateKey, Address, ListenPort, DNS or MTU") " = ...")
}
END {
    if (failed) exit
    if (!sections) bad("expected a section [Interface]")
    if (!addresses) bad("expected Address = ... in [Interface]")
    if (!peers) bad("expected a section [Peer]")
    end_peer()
    if (mtu && mtu < 1280 && has_v6) bad("MTU: expected 1280 at least: an address is of IPv6")
    for (i = 1; i <= peers; i++) {
        if (!(i in endpoint) && !port)
            bad("peer " i ": expected Endpoint, where it is called; or ListenPort in [Interface], where it calls this gateway")
        for (j = 1; j <= networks; j++)
            if (i in literal && overlaps(literal[i], behind[j]))
                bad("peer " i ": Endpoint is in AllowedIPs: it would be called through the tunnel itself")
    }
    if (failed || what == "check") exit
    if (what == "network") {
        print "[Match]\nName=wg0\n\n[Network]\nDHCP=no\nIPv6AcceptRA=no\nLinkLocalAddressing=no"
        for (i = 1; i <= addresses; i++) print "Address=" address[i]
        printf "%s", dns
        print "\n[Link]" (mtu ? "\nMTUBytes=" mtu : "") "\nRequiredForOnline=no"
        exit
    }
    while (private == "" && (getline line < made) > 0) if (sub(/^PrivateKey=/, "", line)) private = line
    print "[NetDev]\nName=wg0\nKind=wireguard\n\n[WireGuard]\nPrivateKey=" private
    if (port) print "ListenPort=" port
    # A route to each network behind a peer.
    print "RouteTable=main"
    for (i = 1; i <= peers; i++) {
        print "\n[WireGuardPeer]\nPublicKey=" public[i]
        if (i in shared) print "PresharedKey=" shared[i]
        if (i in endpoint) print "Endpoint=" endpoint[i]
        printf "%s", allowed[i]
        if (i in keepalive) print "PersistentKeepalive=" keepalive[i]
    }
}
