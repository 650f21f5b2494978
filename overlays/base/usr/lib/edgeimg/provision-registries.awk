# Reads a provisioned registries.conf: sections [REGISTRY] with endpoint=, user=, password=, ca=,
# insecure=yes. The variable `what` says what is printed:
#   check  what is wrong with the first bad line, nothing when it is good
#   names  the registries, one a line
#   hosts  containerd's hosts.toml of the registry `name` (containerd, docs/hosts.md)
#   auth   lines for containerd's config.toml: as whom its hosts are asked
#   k3s    K3s' registries.yaml, as JSON, which is YAML
# `certificates` is where files named by ca= are.
function bad(text) {
    if (!failed) print "line " NR ": " text
    failed = 1
    exit
}
function quoted(text,   i, c, out) {
    # As a string of TOML and of JSON. Control characters are refused before.
    for (i = 1; i <= length(text); i++) {
        c = substr(text, i, 1)
        out = out (c == "\"" || c == "\\" ? "\\" : "") c
    }
    return "\"" out "\""
}
function host_of(url) {
    sub(/^https?:\/\//, "", url)
    sub(/\/.*/, "", url)
    return url
}
function server_of(name) {
    # Images of docker.io come from a host of another name, and so do its challenges.
    return name == "docker.io" ? "registry-1.docker.io" : name
}
function tell(host) {
    # What is said of a section is for each of its hosts.
    if (host in seen) return
    seen[host] = ++hosts
    order[hosts] = host
    user_of[host] = user[section]; password_of[host] = password[section]
    ca_of[host] = ca[section]; insecure_of[host] = insecure[section]
}
{ sub(/[ \t]+$/, "") }
/^[ \t]*(#|$)/ { next }
/^\[.*\]$/ {
    name_of[++sections] = substr($0, 2, length($0) - 2)
    if (name_of[sections] != "*" && name_of[sections] !~ "^([A-Za-z0-9][A-Za-z0-9.-]*|[[][0-9A-Fa-f:.]+[]])(:[0-9]+)?$")
        bad("expected a registry such as [docker.io] or [*]")
    if (name_of[sections] in section_of) bad($0 " is there twice")
    section_of[name_of[sections]] = sections
    next
}
!sections { bad("expected a registry such as [docker.io] first") }
$0 ~ "^endpoint=https?://([A-Za-z0-9._-]+|[[][0-9A-Fa-f:.]+[]])(:[0-9]+)?(/[A-Za-z0-9._/-]*)?$" {
    port = host_of(substr($0, 10))
    sub(/^\[.*\]/, "", port)
    if (port ~ /:/ && (port !~ /:[1-9][0-9]?[0-9]?[0-9]?[0-9]?$/ || substr(port, index(port, ":") + 1) + 0 > 65535))
        bad("expected a port, 1 to 65535, behind the host")
    endpoint[sections, ++endpoints[sections]] = substr($0, 10)
    next
}
/^user=[^ :]+$/ { user[sections] = substr($0, 6); next }
/^password=./ { password[sections] = substr($0, 10); next }
/^ca=[A-Za-z0-9][A-Za-z0-9._-]*[.]crt$/ { ca[sections] = substr($0, 4); next }
/^insecure=(yes|no)$/ { insecure[sections] = $0 ~ /yes/; next }
{ bad("expected endpoint=https://..., user=, password=, ca=NAME.crt or insecure=yes") }
END {
    if (failed) exit
    for (section = 1; section <= sections; section++) {
        if ((user[section] == "") != (password[section] == "")) { print "[" name_of[section] "] needs both user= and password="; exit }
        if (!endpoints[section] && name_of[section] == "*") { print "[*] needs an endpoint="; exit }
        for (i = 1; i <= endpoints[section]; i++) tell(host_of(endpoint[section, i]))
        if (!endpoints[section]) tell(server_of(name_of[section]))
    }
    if (what == "check" && !sections) print "expected a registry such as [docker.io]"
    if (what == "names") for (i = 1; i <= sections; i++) print name_of[i]
    if (what == "hosts") print_hosts(section_of[name])
    if (what == "auth") print_auth()
    if (what == "k3s") print_k3s()
}
function print_hosts(section,   i) {
    print "# Provisioned."
    for (i = 1; i <= endpoints[section]; i++) print_host(section, endpoint[section, i])
    if (!endpoints[section]) print_host(section, "https://" server_of(name_of[section]))
}
function print_host(section, url,   path) {
    print "\n[host." quoted(url) "]\ncapabilities = [\"pull\", \"resolve\"]"
    path = url
    sub("^https?://[^/]*/*", "", path)
    if (path != "") print "override_path = true"
    if (ca[section] != "") print "ca = " quoted(certificates "/" ca[section])
    if (insecure[section]) print "skip_verify = true"
}
function print_auth(   i, host) {
    for (i = 1; i <= hosts; i++) {
        host = order[i]
        if (user_of[host] == "") continue
        print "\n[plugins.'io.containerd.cri.v1.images'.registry.configs." quoted(host) ".auth]"
        print "username = " quoted(user_of[host]) "\npassword = " quoted(password_of[host])
    }
}
function print_k3s(   section, i, list, host, parts) {
    printf "{\"mirrors\": {"
    for (section = 1; section <= sections; section++) {
        list = ""
        for (i = 1; i <= endpoints[section]; i++) list = list (i > 1 ? ", " : "") quoted(endpoint[section, i])
        printf "%s%s: {\"endpoint\": [%s]}", (section > 1 ? ", " : ""), quoted(name_of[section]), list
    }
    printf "}, \"configs\": {"
    for (i = 1; i <= hosts; i++) {
        host = order[i]
        parts = ""
        if (user_of[host] != "")
            parts = "\"auth\": {\"username\": " quoted(user_of[host]) ", \"password\": " quoted(password_of[host]) "}"
        if (ca_of[host] != "" || insecure_of[host])
            parts = parts (parts != "" ? ", " : "") "\"tls\": {" \
                (ca_of[host] != "" ? "\"ca_file\": " quoted(certificates "/" ca_of[host]) : "") \
                (ca_of[host] != "" && insecure_of[host] ? ", " : "") \
                (insecure_of[host] ? "\"insecure_skip_verify\": true" : "") "}"
        printf "%s%s: {%s}", (i > 1 ? ", " : ""), quoted(host), parts
    }
    print "}}"
}
