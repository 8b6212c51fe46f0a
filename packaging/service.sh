#!/usr/bin/env bash
# service.sh install | uninstall: kedge as a systemd service of this host, from this checkout.
# Program in /opt/kedge, command /usr/local/bin/kedge, settings /etc/kedge/kedge.toml, everything
# else in /var/lib/kedge.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(dirname "$here")
units=/etc/systemd/system

with_systemd() { [ -d /run/systemd/system ]; }

install_service() {
    local pip
    if docker plugin inspect kedge >/dev/null 2>&1; then
        echo "The managed plugin kedge is installed, and Docker would ask that: make uninstall" >&2
        exit 1
    fi
    "$here/needs.sh" python3 python3-venv mount util-linux e2fsprogs xfsprogs
    echo "Installing kedge into /opt/kedge ..."
    install -d /opt/kedge /etc/kedge
    /usr/bin/python3 -m venv /opt/kedge
    pip="/opt/kedge/bin/python -m pip --disable-pip-version-check"
    $pip install -q --require-hashes -r "$source/requirements-build.lock"
    $pip install -q --require-hashes -r "$source/requirements-run.lock"
    copy=$(mktemp -d) # a build leaves traces beside its source
    trap 'rm -rf "$copy"' EXIT # which is no longer in this function: `copy` is not local
    cp -r "$source"/{pyproject.toml,README.md,LICENSE,backends,driver} "$copy/"
    $pip install -q --no-deps --no-build-isolation --force-reinstall "$copy"
    install -d /opt/kedge/share/doc/kedge
    cp -r "$source"/README.md "$source"/docs/*.md /opt/kedge/share/doc/kedge/
    ln -sf /opt/kedge/bin/kedge /usr/local/bin/kedge
    install -D -m 644 -t $units "$here/systemd/kedge.socket" "$here/systemd/kedge.service"
    if with_systemd; then
        systemctl daemon-reload
        systemctl enable -q kedge.socket kedge.service
        systemctl start kedge.socket
        systemctl restart kedge.service
        echo "kedge is running: kedge doctor"
    else
        echo "The files are in place. No systemd runs here: start the service with"
        echo "    /opt/kedge/bin/kedge serve"
    fi
}

uninstall_service() {
    if grep -q ' /var/lib/kedge/mounts/' /proc/self/mountinfo; then
        echo "Volumes are in use. Stop their containers first:" >&2
        awk '$5 ~ "^/var/lib/kedge/mounts/" {print "    " $5}' /proc/self/mountinfo >&2
        exit 1
    fi
    if with_systemd && [ -e $units/kedge.service ]; then
        systemctl disable -q --now kedge.service kedge.socket
    fi
    rm -f $units/kedge.service $units/kedge.socket /usr/local/bin/kedge
    if with_systemd; then systemctl daemon-reload; fi
    rm -rf /opt/kedge
    echo "The service is removed. Volumes and their data stay in /var/lib/kedge: install kedge again"
    echo "to use them, or delete that directory."
}

case ${1-} in
    install) install_service ;;
    uninstall) uninstall_service ;;
    *) sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
