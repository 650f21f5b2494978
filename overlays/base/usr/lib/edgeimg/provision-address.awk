# Functions for addresses, which other checks of provisioned files are read with.
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
function binary(value, count,   out) {
    while (count-- > 0) {
        out = value % 2 out
        value = int(value / 2)
    }
    return out
}
function hex_value(text,   i, value) {
    value = 0
    for (i = 1; i <= length(text); i++) value = value * 16 + index("0123456789abcdef", tolower(substr(text, i, 1))) - 1
    return value
}
function bits_of(text,   part, count, at, i, head, tail) {
    # The bits of an address that is_address takes, without its prefix, as a text of 0 and 1.
    sub(/\/.*/, "", text)
    if (text !~ /:/) {
        split(text, part, ".")
        for (i = 1; i <= 4; i++) head = head binary(part[i], 8)
        return head
    }
    if (text ~ /\./) {
        tail = text
        sub(/^.*:/, "", tail)
        split(tail, part, ".")
        sub(/[^:]*$/, sprintf("%x:%x", part[1] * 256 + part[2], part[3] * 256 + part[4]), text)
        tail = ""
    }
    # "::" stands for the zeros that are missing.
    at = index(text, "::")
    count = split(at ? substr(text, 1, at - 1) : text, part, ":")
    for (i = 1; i <= count; i++) head = head binary(hex_value(part[i]), 16)
    count = split(at ? substr(text, at + 2) : "", part, ":")
    for (i = 1; i <= count; i++) tail = tail binary(hex_value(part[i]), 16)
    while (length(head) + length(tail) < 128) head = head "0"
    return head tail
}
function prefix_of(text) {
    # How many bits of it are the network.
    if (text ~ /\//) {
        sub(/^.*\//, "", text)
        return text + 0
    }
    return text ~ /:/ ? 128 : 32
}
function network_of(text) {
    # The family and the bits of the network of an address: networks overlap when one begins with
    # the other.
    return (text ~ /:/ ? 6 : 4) substr(bits_of(text), 1, prefix_of(text))
}
function overlaps(one, other) {
    return index(one, other) == 1 || index(other, one) == 1
}
