# Makes a key of WireGuard of 32 random bytes, as `od -An -v -tu1` prints them: prints PrivateKey= and
# PublicKey=, both in base64. The public one is the private one times the point 9 of Curve25519 (RFC
# 7748, 5). The time that it takes depends on the key: nobody is there to measure it, at the start of
# a gateway.
#
# A number is an array of 11 digits of 24 bits, the lowest first: sums of products stay below 2^53,
# up to which awk counts whole numbers.
BEGIN {
    base = 16777216
    fold = 9728 # 2^264, in the field of 2^255 - 19
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
}
function carry(a,   i, round, over) {
    for (round = 0; round < 2; round++) {
        for (i = 0; i < 11; i++) {
            over = int(a[i] / base)
            if (a[i] < over * base) over--
            a[i] -= over * base
            if (i < 10) a[i + 1] += over
            else a[0] += over * fold
        }
    }
}
function set(a, value,   i) {
    a[0] = value
    for (i = 1; i < 11; i++) a[i] = 0
}
function copy(out, a,   i) {
    for (i = 0; i < 11; i++) out[i] = a[i]
}
function add(out, a, b,   i) {
    for (i = 0; i < 11; i++) out[i] = a[i] + b[i]
    carry(out)
}
function subtract(out, a, b,   i) {
    for (i = 0; i < 11; i++) out[i] = a[i] - b[i]
    carry(out)
}
function times(out, a, factor,   i) {
    for (i = 0; i < 11; i++) out[i] = a[i] * factor
    carry(out)
}
function multiply(out, a, b,   i, j, digit, over, sum) {
    for (i = 0; i < 22; i++) sum[i] = 0
    for (i = 0; i < 11; i++) {
        digit = a[i]
        for (j = 0; j < 11; j++) sum[i + j] += digit * b[j]
    }
    for (i = 0; i < 21; i++) {
        over = int(sum[i] / base)
        if (sum[i] < over * base) over--
        sum[i] -= over * base
        sum[i + 1] += over
    }
    for (i = 0; i < 11; i++) out[i] = sum[i] + fold * sum[i + 11]
    carry(out)
}
function step(x, z, x_next, z_next,   a, b, aa, bb, e, c, d, da, cb) {
    # Doubles the first point, and adds it to the second one, which is 9 away from it.
    add(a, x, z)
    subtract(b, x, z)
    add(c, x_next, z_next)
    subtract(d, x_next, z_next)
    multiply(da, d, a)
    multiply(cb, c, b)
    add(c, da, cb)
    multiply(x_next, c, c)
    subtract(d, da, cb)
    multiply(c, d, d)
    times(z_next, c, 9)
    multiply(aa, a, a)
    multiply(bb, b, b)
    multiply(x, aa, bb)
    subtract(e, aa, bb)
    times(c, e, 121665)
    add(c, c, aa)
    multiply(z, e, c)
}
function invert(out, a,   i, power) {
    # a^(p - 2): the exponent has ones in all bits but the second and the fourth.
    copy(power, a)
    for (i = 253; i >= 0; i--) {
        multiply(power, power, power)
        if (i != 2 && i != 4) multiply(power, power, a)
    }
    copy(out, power)
}
function reduce(a,   i, round, over, more) {
    # To the one number below 2^255 - 19.
    for (round = 0; round < 2; round++) {
        over = int(a[10] / 32768)
        a[10] -= over * 32768
        a[0] += over * 19
        carry(a)
    }
    copy(more, a)
    more[0] += 19
    carry(more)
    if (more[10] < 32768) return
    more[10] -= 32768
    copy(a, more)
}
function base64(bytes,   i, n, out) {
    # Of 32 bytes, from bytes[0] on.
    for (i = 0; i < 30; i += 3) {
        n = (bytes[i] * 256 + bytes[i + 1]) * 256 + bytes[i + 2]
        out = out substr(letters, int(n / 262144) + 1, 1) substr(letters, int(n / 4096) % 64 + 1, 1) \
            substr(letters, int(n / 64) % 64 + 1, 1) substr(letters, n % 64 + 1, 1)
    }
    n = (bytes[30] * 256 + bytes[31]) * 4
    return out substr(letters, int(n / 4096) + 1, 1) substr(letters, int(n / 64) % 64 + 1, 1) \
        substr(letters, n % 64 + 1, 1) "="
}
function public_key(private, out,   i, j, bit, x, z, x_next, z_next) {
    set(x, 1)
    set(z, 0)
    set(x_next, 9)
    set(z_next, 1)
    for (i = 31; i >= 0; i--) {
        for (j = 128; j >= 1; j /= 2) {
            if (int(private[i] / j) % 2) step(x_next, z_next, x, z)
            else step(x, z, x_next, z_next)
        }
    }
    invert(z, z)
    multiply(x, x, z)
    reduce(x)
    for (i = 0; i < 32; i++) out[i] = int(x[int(i / 3)] / (i % 3 == 2 ? 65536 : i % 3 == 1 ? 256 : 1)) % 256
}
{ for (i = 1; i <= NF; i++) private[count++] = $i + 0 }
END {
    if (count != 32) exit 1
    # The bits that every key has.
    private[0] -= private[0] % 8
    private[31] = private[31] % 64 + 64
    public_key(private, public)
    print "PrivateKey=" base64(private)
    print "PublicKey=" base64(public)
}
