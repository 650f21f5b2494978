# The state of the last update of this gateway, on the data partition. Read by edgeimg-update, trial
# and edgeimg-status. Each change is a new file that takes the place of the old one, so a power cut
# leaves one of the two.
# shellcheck shell=dash disable=SC2034
state=${EDGEIMG_UPDATE_STATE:-/var/lib/edgeimg/update}
bless=${EDGEIMG_BLESS:-/usr/lib/edgeimg/bless}
boot=${EDGEIMG_BOOT:-/boot}
run=${EDGEIMG_RUN:-/run/edgeimg}
boot_id=${EDGEIMG_BOOT_ID:-/proc/sys/kernel/random/boot_id}
settings=${EDGEIMG_UPDATE_SETTINGS:-/usr/lib/edgeimg/update.conf}
# shellcheck source=/dev/null
. "${EDGEIMG_OS_RELEASE:-/etc/os-release}"

setting() {
    # Value $1 of what the recipe sets; $2 without it.
    value=$(sed -n "s/^$1=//p" "$settings" 2> /dev/null)
    echo "${value:-$2}"
}

field() {
    # Field $1 of the state; empty without one.
    sed -n "s/^$1=//p" "$state/state" 2> /dev/null
}

use_proxy() {
    # The proxy that was provisioned for K3s' pulls serves these, too. curl reads it in small letters.
    [ -r "$run/proxy.env" ] || return 0
    while IFS='=' read -r name value; do
        case $name in
            HTTP_PROXY) export http_proxy="$value" ;;
            HTTPS_PROXY) export https_proxy="$value" ;;
            NO_PROXY) export no_proxy="$value" ;;
        esac
    done < "$run/proxy.env"
}

put() {
    # Write standard input to $state/$1, whole or not at all.
    mkdir -p "$state"
    cat > "$state/$1.new" && sync "$state/$1.new" && mv "$state/$1.new" "$state/$1" && sync "$state"
}

record() {
    # The update to version $1 from version $2 is in phase $3; $4 is the reason of a failure, $5 the
    # boot in which the version was installed.
    put state << EOF
version=$1
from=$2
phase=$3
boot=${5-$(field boot)}
time=$(date -u +%Y-%m-%dT%H:%M:%SZ)
reason=$4
EOF
}

floor() {
    # The smallest rollback index that this gateway takes: the highest that it has run with.
    kept=0
    read -r kept 2> /dev/null < "$state/rollback-index"
    case $kept in '' | *[!0-9]*) kept=0 ;; esac
    own=$(setting rollback_index 0)
    [ "$own" -gt "$kept" ] && echo "$own" || echo "$kept"
}

raise_floor() {
    # This version works: nothing with a smaller rollback index is installed any more.
    [ "$(floor)" = 0 ] || [ "$(cat "$state/rollback-index" 2> /dev/null)" = "$(floor)" ] \
        || floor | put rollback-index
}

entries() {
    # The boot entries of version $1, whatever their tries are.
    for entry in "$boot/EFI/Linux/${IMAGE_ID-}_$1.efi" "$boot/EFI/Linux/${IMAGE_ID-}_$1+"*.efi; do
        [ ! -e "$entry" ] || echo "$entry"
    done
}

is_bad() {
    # Whether the boot loader has given version $1 up.
    for entry in "$boot/EFI/Linux/${IMAGE_ID-}_$1+0"*.efi; do
        [ ! -e "$entry" ] || return 0
    done
    return 1
}

on_trial() {
    [ "$("$bless" status 2> /dev/null)" = indeterminate ]
}
