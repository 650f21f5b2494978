# Prints what is wrong with the first bad line of a provisioned k3s.yaml, nothing when it is good.
# The variable role is the image's. Of YAML this takes `key: value`, and `key:` with lines `- value`
# below it; values plain or in quotes, without escapes. So whatever passes here, K3s can read.
BEGIN {
    add("role server token node-name node-label node-taint node-ip node-external-ip flannel-iface " \
        "resolv-conf kubelet-arg kube-proxy-arg debug", "any")
    add("agent-token tls-san cluster-init cluster-cidr service-cidr cluster-dns cluster-domain " \
        "service-node-port-range flannel-backend advertise-address bind-address https-listen-port " \
        "disable kube-apiserver-arg secrets-encryption", "server")
}
function add(names, who,   list, count, i) {
    count = split(names, list, " ")
    for (i = 1; i <= count; i++) known[list[i]] = who
}
function bad(what) {
    if (!failed) print what
    failed = 1
    exit
}
function value(text) {
    return text ~ /^"[^"\\]*"$/ || text ~ /^'[^']*'$/ || \
        text ~ /^[A-Za-z0-9\/][]A-Za-z0-9._:\/=,@%+~<>()*[-]*$/ && text !~ /:$/
}
function plain(text) {
    return text ~ /^["']/ ? substr(text, 2, length(text) - 2) : text
}
{ sub(/[ \t]+$/, "") }
/^[ \t]*(#|$)/ { next }
NR == 1 && /^---$/ { next }
/^ *- / {
    if (list == "") bad("line " NR ": a list item without its key")
    item = $0
    sub(/^ *- +/, "", item)
    if (!value(item)) bad("line " NR ": put the value of '" list "' in double quotes")
    items++
    next
}
!/^[a-z][a-z0-9-]*\+?:( |$)/ { bad("line " NR ": expected 'key: value', or '- value' below a key") }
{
    if (list != "" && !items) bad("line " NR ": '" list "' above has no value")
    list = ""
    key = $0
    sub(/:.*/, "", key)
    text = substr($0, length(key) + 2)
    sub(/^ +/, "", text)
    name = key
    sub(/\+$/, "", name)
    if (!(name in known)) bad("line " NR ": unknown key '" name "'")
    if (name in seen) bad("line " NR ": '" name "' is there twice")
    seen[name] = text == "" ? "list" : plain(text)
    if (text == "") { list = name; items = 0 }
    else if (!value(text)) bad("line " NR ": put the value of '" name "' in double quotes")
    else if (plain(text) == "") bad("line " NR ": '" name "' has no value")
}
END {
    if (failed) exit
    if (list != "" && !items) bad("'" list "' has no value")
    if ("role" in seen) role = seen["role"]
    if (role != "server" && role != "agent") bad("role: expected server or agent")
    if (role == "server") exit
    if (!("server" in seen) || !("token" in seen)) bad("an agent needs 'server' and 'token'")
    if (seen["server"] !~ /^https:\/\/[^ ]/) bad("server: expected an address such as https://10.0.0.1:6443")
    for (name in seen) if (known[name] == "server") bad("'" name "' is for servers, and this is an agent")
}
