# Prints what is wrong with the first bad line of a provisioned authorized_keys, nothing when it is
# good; with what=lines the lines themselves, as the ssh server (dropbear) reads them: one blank between
# the parts, no tabs, no blanks in front. It refuses keys with options that are not listed here. A key
# is decoded (RFC 4253 6.6): one that is cut off looks like a key, and nobody could log in.
BEGIN {
    flags = "no-agent-forwarding|no-port-forwarding|no-pty|no-touch-required|no-x11-forwarding|restrict|verify-required"
    option = "(" flags "|(command|permitopen)=\"(\\\\\"|[^\"])*\")"
    options = "^" option "(," option ")*[ \t]+"
    unknown = "^(" option ",)*(agent-forwarding|environment|expiry-time|from|no-user-rc|permitlisten|port-forwarding|principals|pty|tunnel|user-rc|x11-forwarding)[=, \t]"
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for (i = 1; i <= 64; i++) value[substr(digits, i, 1)] = i - 1
    for (i = 32; i < 127; i++) letter[i] = sprintf("%c", i)
    # Powers of two: the awk of busybox has no ^.
    power[0] = 1; power[2] = 4; power[4] = 16
    point["nistp256"] = 65; point["nistp384"] = 97; point["nistp521"] = 133
}
function bad(what) {
    print "line " NR ": " what
    exit
}
function decode(text,   i, bits, held) {
    # base64 (RFC 4648) into byte[1..bytes]; false for any other text.
    bytes = bits = held = 0
    if (length(text) % 4 || text ~ /=[^=]|===/) return 0
    sub(/=+$/, "", text)
    for (i = 1; i <= length(text); i++) {
        held = held * 64 + value[substr(text, i, 1)]
        bits += 6
        if (bits >= 8) {
            bits -= 8
            byte[++bytes] = int(held / power[bits])
            held %= power[bits]
        }
    }
    return 1
}
function split_fields(   at, i, size) {
    # The strings in it, each behind its length: size_of[1..fields], and the first two as texts.
    fields = 0
    text_of[1] = text_of[2] = ""
    for (at = 1; at <= bytes; at += 4 + size) {
        size = ((byte[at] * 256 + byte[at + 1]) * 256 + byte[at + 2]) * 256 + byte[at + 3]
        if (at + 3 + size > bytes) return 0
        size_of[++fields] = size
        if (fields <= 2 && size < 64) for (i = at + 4; i < at + 4 + size; i++) text_of[fields] = text_of[fields] letter[byte[i]]
    }
    return fields > 0
}
function is_whole(type,   curve) {
    if (type == "ssh-ed25519") return fields == 2 && size_of[2] == 32
    if (type == "ssh-rsa") return fields == 3 && size_of[2] > 0 && size_of[3] >= 128
    if (type ~ /^sk-ssh/) return fields == 3 && size_of[2] == 32 && size_of[3] > 0
    curve = type
    sub(/^.*sha2-/, "", curve)
    sub(/@.*/, "", curve)
    return text_of[2] == curve && size_of[3] == point[curve] && fields == (type ~ /^sk-/ ? 4 : 3)
}
function word(   found) {
    # Takes the next word off the line.
    found = line
    sub(/[ \t].*/, "", found)
    line = substr(line, length(found) + 1)
    sub(/^[ \t]+/, "", line)
    return found
}
/^[ \t]*(#|$)/ {
    if (what == "lines") print
    next
}
{
    line = $0
    gsub(/^[ \t]+|[ \t]+$/, "", line)
    head = ""
    if (match(tolower(line), options)) {
        head = substr(line, 1, RLENGTH)
        line = substr(line, RLENGTH + 1)
        sub(/[ \t]+$/, " ", head)
    }
}
what == "lines" {
    head = head word()
    head = head " " word()
    print head (line == "" ? "" : " ") line
    next
}
length($0) > 4000 { bad("expected at most 4000 bytes in a line: shorten its comment") }
head == "" && tolower(line) ~ unknown {
    bad("the ssh server refuses a key with an option of this line: expected restrict, no-pty, no-*-forwarding, command=, permitopen=, no-touch-required or verify-required")
}
{ $0 = line }
$1 !~ /^(ssh-(ed25519|rsa)|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh[.]com)$/ || $2 !~ "^[A-Za-z0-9+/]+=*$" {
    bad("expected a public key, such as ssh-ed25519 AAAA... name")
}
!decode($2) || !split_fields() { bad("the key is cut off, or a letter of it is missing: copy its whole line") }
text_of[1] != $1 { bad("the key is not one of the type " $1) }
!is_whole($1) { bad("the key is cut off, or too short: copy its whole line") }
