#!/bin/bash
# A release in a pipeline, on any CI: takes the signing key from the environment into a keyring of
# its own, releases, verifies what came out, and leaves the keyring nowhere. Run it in the project;
# its arguments are those of `edgeimg release`. The exit code is edgeimg's.
#
#   EDGEIMG_SIGNING_KEY         the secret key, armored, or a file that holds it
#   EDGEIMG_SIGNING_PASSPHRASE  its passphrase, or a file that holds it; unset: it has none
#   EDGEIMG_REHEARSE=1          sign with a key that is thrown away, into out/rehearsal: for changes
#                               that may not see the key
#   EDGEIMG_REPORTS             where findings and test results go  [out/reports]
#   EDGEIMG                     the program  [edgeimg]
set -euo pipefail

fail() {
    printf 'error: %s\n' "$1" >&2
    exit 2
}

# What a variable holds, or the file it names: CI services hand out secrets both ways.
secret() {
    if [ -f "$1" ]; then cat -- "$1"; else printf '%s\n' "$1"; fi
}

edgeimg=${EDGEIMG:-edgeimg}
reports=${EDGEIMG_REPORTS:-out/reports}
releases=out/release

private=$(umask 077 && mktemp -d /tmp/edgeimg.XXXXXXXX) # an agent's socket needs a short path
clean() {
    gpgconf --homedir "$private/keys" --kill all 2> /dev/null || true
    rm -rf "$private"
}
trap clean EXIT
trap 'exit 130' INT TERM
umask 022

options=()
if [ "${EDGEIMG_REHEARSE:-}" = 1 ]; then
    releases=out/rehearsal
    rm -rf "$releases"
    "$edgeimg" genkey -q --name Rehearsal --email rehearsal@example.org --home "$private/keys" \
        --no-passphrase --export "$private/public.asc" > /dev/null
elif [ -n "${EDGEIMG_SIGNING_KEY:-}" ]; then
    mkdir -m 700 "$private/keys"
    secret "$EDGEIMG_SIGNING_KEY" \
        | gpg --homedir "$private/keys" --batch --quiet --import \
        || fail 'EDGEIMG_SIGNING_KEY is no armored OpenPGP secret key'
    gpg --homedir "$private/keys" --batch --armor --export > "$private/public.asc"
    if [ -n "${EDGEIMG_SIGNING_PASSPHRASE:-}" ]; then
        (umask 077 && secret "$EDGEIMG_SIGNING_PASSPHRASE" > "$private/passphrase")
        options+=(--passphrase-file "$private/passphrase")
    fi
else
    fail 'no EDGEIMG_SIGNING_KEY: set it as a secret of the CI, or EDGEIMG_REHEARSE=1'
fi
unset EDGEIMG_SIGNING_KEY EDGEIMG_SIGNING_PASSPHRASE # nothing that is built needs them

rm -rf "$reports"
mkdir -p "$reports"
status=0
"$edgeimg" release --home "$private/keys" --releases "$releases" --reports "$reports" --json \
    "${options[@]}" "$@" > "$reports/release.json" || status=$?
[ $status = 0 ] || exit $status

directory=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["directory"])' \
    < "$reports/release.json")
"$edgeimg" verify "$directory" --key "$private/public.asc"
# With the public key that the recipe names, if it does: it must be the one that was signed with.
[ $releases = out/rehearsal ] || "$edgeimg" verify -q "$directory" > /dev/null
