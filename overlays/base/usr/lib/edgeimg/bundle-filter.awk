# Takes secrets out of texts. The variable `what` says which step:
#   forms     values, one a line -> how each may be written: "w" and a text that stands alone, "a" and a
#             text that may stand anywhere. Base64 (RFC 4648) has three, by where the value begins.
#   patterns  forms -> what grep -F finds lines by that may hold one, also a piece of a long one
#   decode    a text -> the same lines without escapes: %XX, \xXX, \u00XX, \" and \\
#   remove    forms, numbers of lines, a text -> the text; in these lines each form is "(removed)"
BEGIN {
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for (i = 1; i < 256; i++) number[sprintf("%c", i)] = i
    removed = "(removed)"
}
function chunk(form) {
    # Long forms are also found by pieces of this size: a piece may stand alone in a line.
    return length(form) < 16 ? length(form) : length(form) < 48 ? 8 : 16
}
function base64(text, lead,   out, held, bits, i) {
    # Digits that `text` determines when `lead` unknown bytes stand before it.
    for (i = 1 - lead; i <= length(text); i++) {
        held = held * 256 + (i < 1 ? 0 : number[substr(text, i, 1)])
        for (bits += 8; bits >= 6; held %= power[bits]) {
            bits -= 6
            out = out substr(digits, int(held / power[bits]) + 1, 1)
        }
    }
    return substr(out, int((lead * 8 + 5) / 6) + 1)
}
function hex(text,   out, i) {
    for (i = 1; i <= length(text); i++) out = out sprintf("%02x", number[substr(text, i, 1)])
    return out
}
function put(form) {
    if (length(form) > 3 && !(form in seen)) print "a" form
    seen[form] = 1
}
function decode(text,   out, code, round, size) {
    # Escapes of escapes, too.
    for (round = 0; round < 3 && text ~ /[%\\]/; round++) {
        out = ""
        while (match(text, /%[0-9A-Fa-f][0-9A-Fa-f]|\\x[0-9A-Fa-f][0-9A-Fa-f]|\\u00[0-9A-Fa-f][0-9A-Fa-f]|\\["'\\]|\\\//)) {
            size = RLENGTH
            code = substr(text, RSTART, size)
            out = out substr(text, 1, RSTART - 1)
            text = substr(text, RSTART + size)
            out = out (size > 2 ? letter(substr(code, size - 1)) : substr(code, 2))
        }
        text = out text
    }
    return text
}
function letter(pair,   code) {
    # A line stays one line: its number is looked for.
    pair = tolower(pair)
    code = (index("0123456789abcdef", substr(pair, 1, 1)) - 1) * 16 + index("0123456789abcdef", substr(pair, 2)) - 1
    return sprintf("%c", code < 32 ? 32 : code)
}
function alone(text, from, size) {
    return substr(text, from - 1, from > 1) !~ /[A-Za-z0-9]/ && substr(text, from + size, 1) !~ /[A-Za-z0-9]/
}
function redact(line,   i) {
    for (i = 1; i <= pieces; i++) if (index(line, piece[i])) line = without(line, i)
    return line
}
function without(line, i,   out, at, from, to, first, size, form) {
    # `line` without the pieces of the form that piece i is of, as far as they agree with it.
    form = text_of[form_of[i]]
    while (at = index(line, piece[i])) {
        first = offset[i]
        size = length(piece[i])
        from = at
        to = at + size
        while (from > 1 && first > 1 && substr(line, from - 1, 1) == substr(form, first - 1, 1)) { from--; first-- }
        while (to <= length(line) && substr(line, to, 1) == substr(form, first + to - from, 1)) to++
        if (kind_of[i] == "w" ? alone(line, from, size) : to - from >= 12 || to - from == length(form)) {
            out = out substr(line, 1, from - 1) removed
            line = substr(line, to)
        } else {
            out = out substr(line, 1, at)
            line = substr(line, at + 1)
        }
    }
    return out line
}
what == "forms" {
    if (!(0 in power)) for (i = power[0] = 1; i < 16; i++) power[i] = power[i - 1] * 2
    if ($0 in values) next
    values[$0] = 1
    if (length($0) < 8) print "w" $0
    else put($0)
    for (lead = 0; lead < 3; lead++) {
        form = base64($0, lead)
        put(form)
        gsub(/\+/, "-", form)
        gsub(/\//, "_", form)
        put(form)
    }
    if ((form = decode($0)) != $0) put(form)
    form = $0
    if (gsub(/ /, "+", form)) put(form)
    # Lines of private keys are in base64 already.
    if (length($0) < 60) {
        put(form = hex($0))
        put(toupper(form))
    }
    next
}
what == "patterns" || what == "remove" && FNR == NR {
    form = substr($0, 2)
    size = chunk(form)
    text_of[++forms] = form # once: awk copies texts
    for (i = 1; i + size - 1 <= length(form); i += size) {
        pieces++
        piece[pieces] = substr(form, i, size)
        form_of[pieces] = forms
        offset[pieces] = i
        kind_of[pieces] = substr($0, 1, 1)
        if (what == "patterns") print piece[pieces]
    }
    next
}
what == "decode" { print decode($0); next }
FNR == 1 { files++ }
files == 1 { hit[$0] = 1; next }
FNR in hit {
    plain = decode($0)
    out = redact(plain)
    print (out == plain ? redact($0) : out)
    next
}
{ print }
