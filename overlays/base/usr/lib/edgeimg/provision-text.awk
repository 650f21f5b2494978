# Reads the bytes of a provisioned file, as `od -An -v -tu1` prints them, and prints what keeps it
# from being text: UTF-8 (RFC 3629) without control characters, C1 and the line ends of Unicode among
# them, at which some readers end a line and others do not. A carriage return is allowed only before
# a line feed: systemd ends a line at any other. With tabs=no tabs are refused as well.
function bad(what) {
    if (!failed) print what ", expected plain text (line " line + 1 ")"
    failed = 1
    exit
}
{
    for (i = 1; i <= NF; i++) {
        byte = $i + 0
        if (last == 13 && byte != 10) bad("holds control characters (a carriage return in a line)")
        last = byte
        if (left) {
            if (byte < low || byte > high) bad("is no UTF-8, or holds control characters")
            code = code * 64 + byte - 128
            low = 128; high = 191
            if (--left == 0 && (code < 160 || code == 8232 || code == 8233 || code == 65279 && count != 2)) bad("holds control characters")
        } else if (byte < 128) {
            if (byte == 9 && tabs == "no") bad("holds control characters (a tab)")
            if (byte < 32 && byte != 9 && byte != 10 && byte != 13 || byte == 127) bad("holds control characters")
            if (byte == 10) line++
        } else {
            if (byte < 194 || byte > 244) bad("is no UTF-8, or holds control characters")
            left = byte < 224 ? 1 : byte < 240 ? 2 : 3
            code = byte - (left == 1 ? 192 : left == 2 ? 224 : 240)
            low = byte == 224 ? 160 : byte == 240 ? 144 : 128
            high = byte == 237 ? 159 : byte == 244 ? 143 : 191
        }
        count++
    }
}
END { if (!failed && left) bad("is no UTF-8, or holds control characters") }
