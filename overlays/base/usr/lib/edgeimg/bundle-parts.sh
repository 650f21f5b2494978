# The parts of a support bundle: what each prints, its size and its time. Read by bundle, which has `try`
# (a command), `show` (files), `missing` and `part`. Nothing here needs to look for secrets.
# shellcheck shell=dash disable=SC2034,SC2154
versions() {
    show "$root/etc/os-release" "$root/usr/share/edgeimg/k3s.json" /proc/version /proc/cmdline \
        /proc/uptime "$root"/var/lib/edgeimg/update/state "$run/provision.problem"
    try date -u
    try ls -lR "$root/var/lib/edgeimg/provision"
}

state() {
    try edgeimg-status
}

machine() {
    try "$lib/hardware" "$root"
}

units() {
    try systemctl list-units --failed --no-pager --full
    try systemctl list-units --all --no-pager --full
    try systemctl list-timers --all --no-pager
    try systemctl list-jobs --no-pager
}

this_boot() {
    try journalctl --boot --no-pager --output short-iso --lines 50000
}

boots_before() {
    # A boot that ended in order says so in its last line. Of the others the end is worth most.
    show "$root/var/lib/edgeimg/update/failed.log"
    try journalctl --list-boots --no-pager
    for boot in $(timeout 20 journalctl --list-boots --no-pager 2> /dev/null | awk '$1 < 0 { print $1 }' | tail -n 5); do
        last=$(timeout 20 journalctl --boot="$boot" --lines 1 --output cat --no-pager 2> /dev/null)
        if [ "$last" = "Journal stopped" ]; then
            try journalctl --boot="$boot" --no-pager --output short-iso --lines 1000 --priority warning
        else
            try journalctl --boot="$boot" --no-pager --output short-iso --lines 5000
        fi
    done
}

messages() {
    try dmesg
}

network() {
    try ip addr
    try ip route
    try ip -6 route
    try ip neigh
    try networkctl --no-pager list
    show "$root"/run/systemd/netif/state "$root"/run/systemd/netif/links/* "$root"/run/systemd/netif/leases/* \
        "$root/etc/resolv.conf" /proc/net/dev
    try netstat -tuln
}

disks() {
    show /proc/partitions /proc/mounts /proc/diskstats
    try df -k
    try df -i
    for file in "$root"/sys/block/*/device/model "$root"/sys/block/*/device/name \
        "$root"/sys/block/*/device/rev "$root"/sys/block/*/device/fwrev \
        "$root"/sys/block/*/device/life_time "$root"/sys/block/*/device/pre_eol_info \
        "$root"/sys/block/*/device/io*_cnt "$root"/sys/block/*/device/state \
        "$root"/sys/class/nvme/*/firmware_rev "$root"/sys/class/nvme/*/hwmon*/temp1_input \
        "$root"/sys/fs/ext4/*/*error* "$root"/sys/fs/ext4/*/lifetime_write_kbytes; do
        [ ! -r "$file" ] || printf '%s: %s\n' "${file#"$root"}" "$(timeout 5 head -c 200 "$file" 2> /dev/null)"
    done
}

memory_use() {
    show /proc/meminfo /proc/swaps /proc/pressure/memory /proc/pressure/io /proc/pressure/cpu \
        /proc/loadavg /sys/block/zram0/mm_stat
}

processes() {
    # Without arguments: some programs are started with secrets.
    try ps -o pid,ppid,user,stat,vsz,rss,comm
}

services() {
    try edgeimg-service list
}

objects() {
    if [ -e "$root/usr/lib/edgeimg/unready" ]; then
        missing "this image has no K3s"
        return
    fi
    if [ ! -r "$KUBECONFIG" ]; then
        missing "K3s has written no $KUBECONFIG"
        return
    fi
    host=$(hostname)
    if [ "$role" != server ]; then
        # What a kubelet may read.
        try "$kubectl" get node "$host" -o wide --request-timeout=20s
        try "$kubectl" get pods -A -o wide --field-selector "spec.nodeName=$host" --request-timeout=20s
        return
    fi
    try "$kubectl" get nodes,namespaces -o wide --request-timeout=20s
    try "$kubectl" describe nodes --request-timeout=20s
    try "$kubectl" get pods -A -o wide --request-timeout=20s
    try "$kubectl" get events -A --sort-by=.lastTimestamp --request-timeout=20s
    try "$kubectl" get -A -o wide --request-timeout=20s \
        deployments,daemonsets,statefulsets,replicasets,jobs,cronjobs,services,endpointslices,ingresses,networkpolicies,persistentvolumeclaims
    try "$kubectl" get -o wide --request-timeout=20s persistentvolumes,storageclasses
    # Of a pod's description: no arguments, and no variables.
    try "$kubectl" get pods -A --request-timeout=20s -o 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name} {.status}{"\n"}{end}'
}

containers() {
    for what in containers tasks images; do
        try "$root/usr/lib/k3s/current/bin/ctr" --address /run/containerd/containerd.sock \
            --namespace k8s.io $what list
    done
}

pod_logs() {
    # Programs of pods may print what they find in Secrets, so these must be known.
    if [ "$has_cluster" = no ]; then
        echo "Left out: the cluster's Secrets could not be read, so they could not be removed."
        [ "$role" != server ] || missing "the cluster's Secrets could not be read"
        return
    fi
    for file in "$root"/var/log/pods/*/*/*.log; do
        [ ! -f "$file" ] || try tail -n 100 "$file"
    done
}

of_secrets() {
    # What holds for the Secrets of Kubernetes here.
    if [ "$role" != server ]; then
        echo "This gateway is an agent and may not read the cluster's Secrets, so they could not be removed"
        echo "from the journal. What pods printed is left out."
    elif [ "$has_cluster" = yes ]; then
        echo "The values of the cluster's Secrets were replaced, too, if they have eight letters or more. Releases of"
        echo "Helm were replaced where they stand in gzip and base64."
    else
        echo "THE CLUSTER'S SECRETS COULD NOT BE READ, so they could not be removed from the journal. What pods"
        echo "printed is left out."
    fi
}

readme() {
    cat << EOF
Support bundle of the gateway $(hostname), $(image), made $(date -u '+%Y-%m-%d %H:%M:%S UTC').

Made by edgeimg-status --bundle. Each file has the commands that made it, each after a "#".

Secrets of this gateway were replaced by "(removed)", also in base64, in hexadecimal digits, with escapes
and in pieces: of the provisioning (tokens, keys, passwords, passphrases, PINs), of K3s, containerd and services.
$(of_secrets)

Left out for privacy: contents of the provisioned files, Secrets and ConfigMaps, arguments and variables
of pods, arguments of processes, serial numbers of devices, data of volumes and services.

Inside, so look before you pass it on: names, addresses (IP and MAC), names of wireless networks,
images and workloads, who logged in and when, and what programs wrote into the journal or printed in pods.

EOF
    if [ -s "$work/missing" ]; then
        echo "MISSING:"
        sed 's/^/  /' "$work/missing"
    else
        echo "All parts are there."
    fi
}

collect() {
    part versions.txt 256 20 versions
    part status.txt 256 60 state
    part hardware.txt 512 60 machine
    part units.txt 1024 60 units
    part journal.txt 6144 120 this_boot
    part journal-before.txt 4096 120 boots_before
    part kernel.txt 1024 20 messages
    part network.txt 512 60 network
    part disks.txt 512 60 disks
    part memory.txt 128 20 memory_use
    part processes.txt 512 20 processes
    part services.txt 128 60 services
    part k3s.txt 4096 180 objects
    part containers.txt 1024 60 containers
    part pods.txt 3072 60 pod_logs
    part=README.txt
    readme > "$work/raw"
    filter "$content/README.txt"
}
