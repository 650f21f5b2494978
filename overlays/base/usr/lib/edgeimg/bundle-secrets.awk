# Prints the secret values in settings, a value a line: of keys such as password, psk and token; of
# addresses with a password; of K3s' tokens; each line of a private key. With `whole` set, every line of
# the file is one. A value may be printed in more than one reading, and twice.
BEGIN {
    key = "(passw(or)?d|passphrase|psk|token|secret|secret-key|secret_key|private_?key|presharedkey|" \
        "key-data|join-?key|access-key|(^|[^a-z])(pin|auth)|wep_key[0-3])[\"']? *[:=] *"
}
function put(value) {
    sub(/^[ \t]+/, "", value)
    sub(/[ \t\r]+$/, "", value)
    if (length(value) >= (least ? least : 4) && length(value) <= 4096 && value !~ /^(true|false|none|null)$/)
        print value
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
    quote = substr(text, 1, 1)
    if (quote != "\"" && quote != "'") {
        put(text)
        c = text
        sub(/[ \t,}].*/, "", c)
        if (c != text) put(c)
        return
    }
    for (i = 2; i <= length(text) && (c = substr(text, i, 1)) != quote; i++) {
        raw = raw c
        if (c == "\\" && quote == "\"") raw = raw (c = substr(text, ++i, 1))
        plain = plain c
    }
    put(raw)
    put(plain)
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
{
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
        put_token(substr(rest, RSTART, RLENGTH))
        rest = substr(rest, RSTART + RLENGTH)
    }
    if (match($0, /token[":= ]+[a-z0-9]+[.][a-z0-9]+/)) put_token(substr($0, RSTART, RLENGTH))
}
