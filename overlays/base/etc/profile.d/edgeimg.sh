# Who logs in learns what is wrong with the provisioning.
if [ -s /run/edgeimg/provision.problem ] && [ -t 0 ]; then
    echo "PROVISIONING FAILED, what was good before is in use:"
    sed 's/^/- /' /run/edgeimg/provision.problem
fi
