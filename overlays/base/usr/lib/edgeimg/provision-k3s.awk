# Prints what is wrong with the first bad line of a provisioned k3s.yaml, nothing when it is good.
# The variable role is the image's, table the file that says which options a card may set, and to
# what. Of YAML this takes `key: value`, and `key:` with lines `- value` below it; values plain or in
# quotes, without escapes. So whatever passes here, K3s can read.
BEGIN {
    while ((getline line < table) > 0) {
        split(line, part, "\t")
        if (part[1] == "allow") { allowed[part[2]] = 1; continue }
        form[part[2]] = part[4]
        expected[part[2]] = part[5]
        sub(/\..*/, "", part[2])
        known[part[2]] = part[3]
    }
}
function may(name,   one) {
    for (one in allowed)
        if (one == name || one ~ /\.\*$/ && index(name, substr(one, 1, length(one) - 1)) == 1) return 1
    return 0
}
function is_known(name,   one) {
    if (name in known || may("k3s." name)) return 1
    for (one in allowed) if (index(one, "k3s." name ".") == 1) return 1
    return 0
}
function judge(option, text,   flag) {
    # Whether a card may set this. Options of other programs are kubelet-arg.max-pods.
    if (option ~ /-arg$/) {
        flag = text
        sub(/=.*/, "", flag)
        text = substr(text, length(flag) + 2)
        if (flag !~ /^[a-z][a-z0-9-]*$/) bad("line " NR ": '" option "': expected NAME=VALUE")
        option = option "." flag
    }
    if (may("k3s." option)) return
    if (!(option in form)) bad("line " NR ": needs the consent of the image's recipe: [provision] allow = [\"k3s." option "\"]")
    if (text !~ form[option]) bad("line " NR ": '" option "': expected " expected[option])
}
function bad(what) {
    if (!failed) print what
    failed = 1
    exit
}
function value(text) {
    return text ~ /^"[^"\\]*"$/ || text ~ /^'[^']*'$/ || \
        text ~ "^[A-Za-z0-9/][]A-Za-z0-9._:/=,@%+~<>()*[-]*$" && text !~ /:$/
}
function unquoted(name, text) {
    if (text ~ /[ \t]#/) return "put the comment into a line of its own"
    return "put the value of '" name "' in double quotes"
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
    if (!value(item)) bad("line " NR ": " unquoted(list, item))
    judge(list, plain(item))
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
    if (!is_known(name)) bad("line " NR ": unknown key '" name "', or one that needs the consent of the image's recipe: [provision] allow = [\"k3s." name "\"]")
    if (key != name && name ~ /^(role|server|token|agent-token|node-name)$/) bad("line " NR ": expected '" name "' without '+'")
    if (key == name && name ~ /-arg$/ && !may("k3s." name ".*")) bad("line " NR ": expected '" name "+', which adds to what the image says")
    if (name in seen) bad("line " NR ": '" name "' is there twice")
    seen[name] = text == "" ? "list" : plain(text)
    if (text == "") { list = name; items = 0 }
    else if (!value(text)) bad("line " NR ": " unquoted(name, text))
    else if (plain(text) == "") bad("line " NR ": '" name "' has no value")
    else if (name != "role") judge(name, plain(text))
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
