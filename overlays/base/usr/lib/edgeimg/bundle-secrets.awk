# Prints the secret values in settings, a value a line: of keys such as password, psk and token, also in
# lists and blocks of YAML; of headers `Basic` and `Bearer`, and what Basic holds; of addresses with
# a password; of K3s' tokens; each line of a private key. With `whole` set, every line of
# the file is one. A value may be printed in more than one reading, and twice.
BEGIN {
    key = "(pass(w(or)?d|phrase)?(_in|_out)?|psk|token|secret|secret[_-]?key|private[_-]?key|preshared[_-]?key|" \
        "key-data|join-?key|access[_-]?key|api[_-]?key|credentials?|authorization|(^|[^a-z])(pin|auth)|" \
        "wep_key[0-3])[\"']?[ \t]*[:=][ \t]*"
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for (i = power[0] = 1; i < 16; i++) power[i] = power[i - 1] * 2
}
function put(value) {
    sub(/^[ \t]+/, "", value)
    sub(/[ \t\r]+$/, "", value)
    if (length(value) < (least ? least : 4) || value ~ /^(true|false|none|null)$/) return
    print value
    put_password(value)
    if (match(tolower(value), /^(basic|bearer|token) +/)) put(substr(value, RLENGTH + 1))
}
function put_password(text,   i, held, bits, out) {
    # user:password in base64 (RFC 7617; `auth` of registries).
    if (length(text) > 512 || length(text) < 8 || text !~ "^[A-Za-z0-9+/]+=*$") return
    gsub(/=/, "", text)
    for (i = 1; i <= length(text); i++) {
        held = held * 64 + index(letters, substr(text, i, 1)) - 1
        if ((bits += 6) < 8) continue
        bits -= 8
        out = out sprintf("%c", int(held / power[bits]))
        held %= power[bits]
    }
    if (out ~ /^[^:]*:/ && out !~ /[\001-\037]/ && sub(/^[^:]*:/, "", out)) put(out)
}
function digit(c) {
    return index("0123456789abcdef", tolower(c)) - 1
}
function decoded(text,   out) {
    # %XX (RFC 3986).
    while (match(text, /%[0-9A-Fa-f][0-9A-Fa-f]/)) {
        out = out substr(text, 1, RSTART - 1) \
            sprintf("%c", digit(substr(text, RSTART + 1, 1)) * 16 + digit(substr(text, RSTART + 2, 1)))
        text = substr(text, RSTART + 3)
    }
    return out text
}
function put_value(text,   quote, i, c, raw, plain) {
    # The value at the start of `text`. Some programs know no escapes in quotes.
    if (text ~ /^[|>][-+0-9]*[ \t]*$/) {
        match($0, /^[ \t]*/)
        block = RLENGTH + 1
        return
    }
    sub(/^[[ \t]+/, "", text)
    quote = substr(text, 1, 1)
    if (quote != "\"" && quote != "'") {
        # Where it ends depends on the program.
        put(text)
        c = text
        if (sub(/,.*/, "", c)) put(c)
        if (sub(/[ \t].*/, "", c)) put(c)
        if (sub(/[]}].*/, "", c)) put(c)
        return
    }
    for (i = 2; i <= length(text) && (c = substr(text, i, 1)) != quote; i++) {
        raw = raw c
        if (c == "\\" && quote == "\"") raw = raw (c = substr(text, ++i, 1))
        plain = plain c
    }
    put(raw)
    if (plain != raw) put(plain)
    if (match(text = substr(text, i + 1), /^[ \t]*,[ \t]*["']/)) put_value(substr(text, RLENGTH))
}
function put_token(token) {
    # K10<digest>::user:password, or id.password (K3s).
    put(token)
    if (sub(/^K10[0-9a-f]*::[^:]*:/, "", token) || sub(/^[a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][a-z0-9][.]/, "", token)) put(token)
}
{ sub(/\r$/, "") }
/-----BEGIN CERTIFICATE-----/ { public = 1 }
public { if (/-----END/) public = 0; next }
/-----END [A-Z ]*PRIVATE KEY-----/ { private = 0 }
private { put($0) }
/-----BEGIN [A-Z ]*PRIVATE KEY-----/ { private = 1 }
whole && !/^-----/ { put_token($0) }
block {
    match($0, /^[ \t]*/)
    if (RLENGTH >= block) put($0)
    else if (RLENGTH < length($0)) block = 0
}
{
    rest = $0
    while (match(rest, /[Bb](asic|earer) +([A-Za-z0-9+._~=-]|\/)+/)) {
        value = substr(rest, RSTART, RLENGTH)
        rest = substr(rest, RSTART + RLENGTH)
        # Not a word of a comment.
        if (value ~ /[0-9=]/) put(value)
    }
    rest = $0
    while (match(tolower(rest), key)) {
        rest = substr(rest, RSTART + RLENGTH)
        put_value(rest)
    }
    rest = $0
    while (match(rest, "://[^/ \"'@]*:[^/ \"']*@")) {
        value = substr(rest, RSTART + 3, RLENGTH - 4)
        rest = substr(rest, RSTART + RLENGTH)
        sub(/^[^:]*:/, "", value)
        put(value)
        put(decoded(value))
    }
    rest = $0
    while (match(rest, /K10[0-9a-f]*::[^ "',]+/)) {
        value = substr(rest, RSTART, RLENGTH)
        rest = substr(rest, RSTART + RLENGTH)
        put_token(value)
    }
    if (match($0, /token[":= ]+[a-z0-9]+[.][a-z0-9]+/)) put_token(substr($0, RSTART, RLENGTH))
}
