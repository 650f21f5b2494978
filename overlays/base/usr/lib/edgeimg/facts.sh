# What this gateway knows of itself. Read by the programs that tell it: report (to `edgeimg smoke`),
# edgeimg-status (to whoever logs in), screen and banner (to whoever stands in front of it).
# $root is in front of its paths: bundle sets it.
# shellcheck shell=dash disable=SC2034
root=${root-}
share=$root/usr/share/edgeimg
run=$root/run/edgeimg
kubectl=$root/usr/lib/k3s/current/bin/kubectl
efivars=$root/sys/firmware/efi/efivars
role=$(sed -n 's/^K3S_ROLE=//p' "$root/etc/rancher/k3s/k3s.env" 2> /dev/null)
role=${role:-server}
# A kubelet may read its own node, with the certificate that its server has given it.
[ "$role" = server ] || KUBECONFIG=$root/var/lib/rancher/k3s/agent/kubelet.kubeconfig
export KUBECONFIG="${KUBECONFIG:-$root/etc/rancher/k3s/k3s.yaml}" KUBECACHEDIR=$run/kubectl
mkdir -p "$run"

uptime_s() {
    read -r uptime _ < /proc/uptime
}

memory() {
    # Sets the figures of /proc/meminfo (KiB) without starting a process.
    while read -r field kib _; do
        case $field in
            MemTotal:) total=$kib ;;
            MemAvailable:) available=$kib ;;
            SwapTotal:) swap=$kib ;;
            SwapFree:)
                swap_used=$((swap - kib))
                break
                ;;
        esac
    done < /proc/meminfo
    used=$((total - available))
}

image() {
    # "gateway 0.1.0, slot A": the image and the slot that it runs from.
    . /etc/os-release
    slot=''
    # The partitions under the root: those of slot A are the second and third of the disk.
    for number in /sys/block/dm-0/slaves/*/partition; do
        read -r slot 2> /dev/null < "$number" || break
        [ "$slot" -le 3 ] && slot=', slot A' || slot=', slot B'
    done
    echo "${IMAGE_ID:-$ID} ${IMAGE_VERSION:-${VERSION_ID-}}$slot"
}

k3s_version() {
    # Of the image, with what it is when it is not K3s.
    version=$(sed -n 's/.*"version": *"\([^"]*\)".*/\1/p' $share/k3s.json 2> /dev/null)
    if grep -q '"standin": *true' $share/k3s.json 2> /dev/null; then
        version="$version (stand-in for tests, not K3s)"
    fi
    echo "${version:-unknown}"
}

addresses() {
    # A line for each card that is up: its name and its addresses. Not those of pods' networks.
    ip -o addr show scope global 2> /dev/null | awk '
        $2 !~ /^(lo|offline0|cni0|flannel|veth|kube-)/ { line[$2] = line[$2] "  " $4 }
        END { for (card in line) print card line[card] }' | sort
}

unplugged() {
    # Cards without a cable or a radio link.
    for card in /sys/class/net/*; do
        [ -e "$card/device" ] || continue
        read -r carrier 2> /dev/null < "$card/carrier" && [ "$carrier" = 1 ] || echo "${card##*/}"
    done
}

wireguard_key() {
    # The public key, where this gateway has made the private one.
    cat "$run/wireguard.pub" 2> /dev/null
}

wireguard() {
    # "no answer from a peer yet" or "12 KiB received, 3 KiB sent": of the tunnel; nothing without one.
    statistics=$root/sys/class/net/wg0/statistics
    if read -r received 2> /dev/null < "$statistics/rx_bytes" && read -r sent < "$statistics/tx_bytes"; then
        # What is no packet of a peer is not counted.
        [ "$received" -gt 0 ] && echo "$((received / 1024)) KiB received, $((sent / 1024)) KiB sent" \
            || echo "no answer from a peer yet"
    elif [ -e "$root/run/systemd/network/05-wg0.netdev" ]; then
        echo "the device wg0 is missing"
    fi
}

is_synchronised() {
    # Whether a program has set the kernel time: systemd-timesyncd, or chrony.
    ! busybox adjtimex 2> /dev/null | grep -q UNSYNC
}

secure_boot() {
    # on, off, or unknown: no UEFI, or its variables are not mounted. Four bytes of attributes, then
    # the value (UEFI 2.10, 3.3).
    variable=$efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
    case $(od -An -v -tu1 "$variable" 2> /dev/null | awk '{ print NF == 5 ? $5 : "" }') in
        1) echo on ;;
        0) echo off ;;
        *) echo unknown ;;
    esac
}

count_pods() {
    # Sets $pods to how many pods have processes here, without starting one. Of the kernel: asking
    # Kubernetes costs seconds.
    pods=0
    for group in /sys/fs/cgroup/kubepods/pod* /sys/fs/cgroup/kubepods/*/pod*; do
        [ ! -d "$group" ] || pods=$((pods + 1))
    done
}

node_state() {
    # What Kubernetes says of this node: "Ready", "not ready", or why it says nothing. Starts
    # kubectl, which takes a second and 40 MB for that long.
    if [ ! -r "$KUBECONFIG" ]; then
        [ "$role" = agent ] && echo "has not joined" || echo "starting"
    elif ready=$($kubectl get node "$(hostname)" --request-timeout=10s \
        -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' 2> $run/kubectl.err); then
        [ "$ready" = True ] && echo "Ready" || echo "not ready"
    else
        echo "the server does not answer"
    fi
}

server_of_agent() {
    cat /etc/rancher/k3s/config.yaml /etc/rancher/k3s/config.yaml.d/*.yaml 2> /dev/null \
        | sed -n 's/^[" ]*server"\{0,1\}: *"\{0,1\}\([^",]*\).*/\1/p' | tail -n 1
}

waits_for_provisioning() {
    # An agent without a server.
    [ "$role" = agent ] && [ -z "$(server_of_agent)" ]
}

kubernetes() {
    # "server, Ready, 2 pods": $1 is what node_state said.
    state=$(systemctl is-active k3s.service)
    if waits_for_provisioning; then
        echo "agent without a server: it waits to be provisioned"
        return
    fi
    who=$role
    [ "$role" = server ] || who="agent of $(server_of_agent)"
    [ "$state" = active ] && state=$1 || state="K3s is $state"
    count_pods
    [ $pods = 1 ] && echo "$who, $state, 1 pod" || echo "$who, $state, $pods pods"
}

problems() {
    # What somebody should look at, a line each.
    sed 's/^/provisioning: /' $run/provision.problem 2> /dev/null
    systemctl list-units --failed --plain --no-legend --no-pager | while read -r unit _; do
        [ "$unit" = edgeimg-provision.service ] || echo "failed: $unit (journalctl -u ${unit%.service})"
    done
    for part in /usr/lib/edgeimg/problems.d/*; do
        [ ! -x "$part" ] || "$part"
    done
}

login() {
    # How to log in; nothing where the image has no ssh.
    [ -d /usr/lib/edgeimg/services/ssh ] || return 0
    address=$(addresses | awk '{ sub("/.*", "", $2); print $2; exit }')
    [ -z "$address" ] || echo "ssh root@$address"
}
