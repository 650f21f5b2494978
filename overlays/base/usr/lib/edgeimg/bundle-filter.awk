# Takes secrets out of texts. The variable `what` says which step:
#   forms     values, one a line -> how each may be written: "w" and a text that stands alone, "a" and a
#             text that may stand anywhere. Base64 (RFC 4648) has three, by where the value begins.
#   remove    forms, a text -> the same lines, in which each form is "(removed)"
#
# The time for a text does not depend on the number of secrets: pieces of the forms are the keys of a table,
# and each seventh piece of a line is looked up. A piece has 8 letters. Forms of 14 letters or more are in
# the table with every piece, so any 14 letters of them are found; those of 48 letters or more with each third,
# so any 28 are. More than that are needed when there are very many secrets. Shorter forms have pieces
# of 4 letters when there are many of them, and are found as a whole.
BEGIN {
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    for (i = 1; i < 256; i++) number[sprintf("%c", i)] = i
    for (i = power[0] = 1; i < 16; i++) power[i] = power[i - 1] * 2
    removed = "(removed)"
    x = "[0-9A-Fa-f]"
    # Texts, as busybox reads "\/" in the brackets of /.../ in its own way. C, JSON, Go, shell, HTML.
    escape = "%" x x "|\\\\x" x x "|\\\\u" x x x x "|\\\\U" x x x x x x x x "|\\\\u[{]" x "+[}]|\\\\[0-3][0-7][0-7]|" \
        "\\\\t|\\\\[^A-Za-z0-9]|&(amp|lt|gt|quot|apos|#3[49]|#x2[27]);|'\\\\''|'\"'\"'"
    entity["amp"] = "&"
    entity["lt"] = "<"
    entity["gt"] = ">"
    entity["quot"] = entity["#34"] = entity["#x22"] = "\""
    entity["apos"] = entity["#39"] = entity["#x27"] = "'"
}
function base64(text, lead,   out, part, held, bits, at, i) {
    # Digits that `text` determines when `lead` unknown bytes stand before it. In blocks: awk measures a
    # text each time that it takes a letter of it.
    for (at = 1; at <= length(text); at += 300) {
        block = substr(text, at, 300)
        part = ""
        for (i = at > 1 ? 1 : 1 - lead; i <= length(block); i++) {
            held = held * 256 + (i < 1 ? 0 : number[substr(block, i, 1)])
            for (bits += 8; bits >= 6; held %= power[bits]) {
                bits -= 6
                part = part substr(digits, int(held / power[bits]) + 1, 1)
            }
        }
        out = out part
    }
    return substr(out, int((lead * 8 + 5) / 6) + 1)
}
function hex(text,   out, i) {
    for (i = 1; i <= length(text); i++) out = out sprintf("%02x", number[substr(text, i, 1)])
    return out
}
function value_of(text,   i, value) {
    text = tolower(text)
    for (i = 1; i <= length(text); i++) value = value * 16 + index("0123456789abcdef", substr(text, i, 1)) - 1
    return value
}
function byte(code) {
    # A line stays one line.
    return sprintf("%c", code < 32 && code != 9 ? 32 : code)
}
function utf8(code) {
    if (code < 128) return byte(code)
    if (code < 2048) return byte(192 + int(code / 64)) byte(128 + code % 64)
    if (code >= 55296 && code < 56320) { high = code; return "" }
    if (code >= 56320 && code < 57344) code = 65536 + (high - 55296) * 1024 + code - 56320
    if (code < 65536) return byte(224 + int(code / 4096)) byte(128 + int(code / 64) % 64) byte(128 + code % 64)
    return byte(240 + int(code / 262144) % 8) byte(128 + int(code / 4096) % 64) byte(128 + int(code / 64) % 64) byte(128 + code % 64)
}
function plain(code,   first, rest) {
    # What the escape stands for.
    first = substr(code, 1, 1)
    rest = substr(code, 2)
    if (first == "%") return byte(value_of(rest))
    if (first == "&") return entity[substr(rest, 1, length(rest) - 1)]
    if (first == "'") return "'"
    if (rest == "t") return "\t"
    if (rest ~ /^x/) return byte(value_of(substr(rest, 2)))
    if (rest ~ /^[uU]/) { gsub(/[{}]/, "", rest); return utf8(value_of(substr(rest, 2))) }
    if (rest ~ /^[0-7]/) return byte(substr(rest, 1, 1) * 64 + substr(rest, 2, 1) * 8 + substr(rest, 3))
    return rest
}
function has_escape(text) {
    # Quicker than a pattern.
    return index(text, "\\") || index(text, "%") || index(text, "&") || index(text, "'")
}
function unescaped(text,   out, code, round) {
    # Escapes of escapes, too.
    for (round = 0; round < 3 && has_escape(text); round++) {
        out = ""
        while (match(text, escape)) {
            code = substr(text, RSTART, RLENGTH)
            out = out substr(text, 1, RSTART - 1) plain(code)
            text = substr(text, RSTART + length(code))
        }
        text = out text
    }
    return text
}
function decode(text,   out, block, size, at) {
    # In blocks of whole words, as the time grows with the square of a text.
    if (!has_escape(text)) return text
    if (length(text) <= 4096) return unescaped(text)
    for (at = 1; at <= length(text); at += size) {
        block = substr(text, at, 4096)
        size = length(block)
        if (size == 4096 && match(block, / [^ ]*$/) && RSTART > 1) block = substr(block, 1, size = RSTART - 1)
        out = out unescaped(block)
    }
    return out
}
function put(form) {
    if (length(form) > 3 && !(form in seen)) print "a" form
    seen[form] = 1
}
function put_base64(text,   lead, form) {
    for (lead = 0; lead < 3; lead++) {
        form = base64(text, lead)
        put(form)
        if (gsub(/[+]/, "-", form) + gsub("/", "_", form)) put(form)
    }
}
function put_forms(value,   form) {
    if (value in values) return
    values[value] = 1
    if (length(value) < 8) print "w" value
    else put(value)
    put_base64(value)
    if (length(value) > 1024) return
    form = value
    if (gsub(/ /, "+", form)) put(form)
    # A text of JSON in base64, with the escapes that must be and those that Go makes.
    form = value
    if (gsub(/["\\]/, "\\\\&", form)) put_base64(form)
    if (gsub(/&/, "\\u0026", form) + gsub(/</, "\\u003c", form) + gsub(/>/, "\\u003e", form)) put_base64(form)
    # Lines of private keys are in base64 already.
    if (length(value) < 60) {
        put(form = hex(value))
        put(toupper(form))
    }
}
function add(form, id, size, step,   at, block, i, key) {
    for (at = 1; at <= length(form); at += 480) {
        block = substr(form, at, 480 + size - 1)
        for (i = (step - (at - 1) % step) % step + 1; i <= 480 && i + size - 1 <= length(block); i += step) {
            key = substr(block, i, size)
            if (index(" " owners[key], " " id ":")) continue
            if (length(owners[key]) < 2000) owners[key] = owners[key] id ":" (at + i - 1) " "
        }
    }
}
function step_of(size, step) {
    # A form as a whole must hold a piece that is looked up, so it has at least seven steps.
    return size < 48 ? 1 : step * 7 + 7 > size ? 5 : step
}
function build(   id, size, short, step, pieces) {
    for (step = 3; step == 3 || pieces > 400000; step *= 2) {
        # About 110 bytes of memory for each piece.
        if (step > 400) exit 1
        for (id = pieces = 0; ++id <= forms; pieces += size / step_of(size, step)) size = length(form_of[id])
    }
    for (id = 1; id <= forms; id++) if ((size = length(form_of[id])) > 7 && size < 14) short++
    for (id = 1; id <= forms; id++) {
        size = length(form_of[id])
        if (size < 8 || size < 14 && short < 100) tiny[++tinies] = id
        else if (size < 14) { add(form_of[id], id, 4, 1); fours = 1 }
        else add(form_of[id], id, 8, step_of(size, step / 2))
    }
}
function mark(line, at, key,   all, one, i, n, form, first, from, to, size) {
    # The piece `key` at `at` belongs to some forms: the span of the line that agrees with one of them.
    size = length(key)
    # All of a piece that is well inside of a span is removed already.
    if (spans && start_of[spans] <= at && at + size + 12 < end_of[spans]) return
    n = split(owners[key], all, " ")
    for (i = 1; i <= n; i++) {
        split(all[i], one, ":")
        form = form_of[one[1]]
        first = one[2]
        from = at
        to = at + size
        while (from > 64 && first > 64 && substr(line, from - 64, 64) == substr(form, first - 64, 64)) { from -= 64; first -= 64 }
        while (from > 1 && first > 1 && substr(line, from - 1, 1) == substr(form, first - 1, 1)) { from--; first-- }
        while (first + to - from + 63 <= length(form) && substr(line, to, 64) == substr(form, first + to - from, 64)) to += 64
        while (to <= length(line) && substr(line, to, 1) == substr(form, first + to - from, 1)) to++
        if (to - from < 12 && to - from < length(form)) continue
        while (spans && end_of[spans] >= from) {
            if (start_of[spans] < from) from = start_of[spans]
            if (end_of[spans] > to) to = end_of[spans]
            spans--
        }
        start_of[++spans] = from
        end_of[spans] = to
    }
}
function redact(line,   at, block, i, n, out) {
    spans = 0
    for (at = 1; at <= length(line); at += 525) {
        block = substr(line, at, 532)
        if ((n = length(block)) > 525) n = 525
        for (i = 1; i <= n; i += 7) if (substr(block, i, 8) in owners) mark(line, at + i - 1, substr(block, i, 8))
        if (fours) for (i = 1; i <= n; i += 5) if (substr(block, i, 4) in owners) mark(line, at + i - 1, substr(block, i, 4))
    }
    at = 1
    for (i = 1; i <= spans; i++) {
        out = out substr(line, at, start_of[i] - at) removed
        at = end_of[i]
    }
    if (spans) line = out substr(line, at)
    for (i = 1; i <= tinies; i++) if (index(line, form_of[tiny[i]])) line = without(line, tiny[i])
    return line
}
function without(line, id,   form, out, at, size) {
    form = form_of[id]
    size = length(form)
    while (at = index(line, form)) {
        if (kind_of[id] != "w" || alone(line, at, size)) {
            out = out substr(line, 1, at - 1) removed
            line = substr(line, at + size)
        } else {
            out = out substr(line, 1, at)
            line = substr(line, at + 1)
        }
    }
    return out line
}
function alone(text, from, size) {
    return substr(text, from - 1, from > 1) !~ /[A-Za-z0-9]/ && substr(text, from + size, 1) !~ /[A-Za-z0-9]/
}
what == "forms" {
    put_forms($0)
    put_forms(decode($0))
    next
}
FNR == 1 && ++files == 2 { build() }
files == 1 {
    form_of[++forms] = substr($0, 2)
    kind_of[forms] = substr($0, 1, 1)
    next
}
{
    # First what the escapes stand for: in the text, only a piece between two of them may be found.
    text = decode($0)
    out = redact(text)
    print (out == text ? redact($0) : out)
}
