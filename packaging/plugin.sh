#!/usr/bin/env bash
# plugin.sh VERB: the managed plugin, from this checkout onto the engine at DOCKER_HOST.
#   rootfs DIR      build the image and write DIR/rootfs and DIR/config.json
#   create [DIR]    `docker plugin create` from DIR, or from a fresh build
#   install         create, enable, and the command /usr/local/bin/kedge; over an installed one: an
#                   upgrade that keeps settings, volumes and data
#   uninstall       disable and remove; the data stay
# BACKENDS: those whose tools are built in beside `local`, as "ceph gluster s3"; an upgrade keeps
# those of the installed one. KEDGE_PLUGIN is the plugin's name on the engine, DOCKER the client.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
source=$(dirname "$here")
name=${KEDGE_PLUGIN:-kedge}
docker=${DOCKER:-docker}
wrapper=${KEDGE_COMMAND:-/usr/local/bin/kedge}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

quietly() { # COMMAND: its output only if it fails
    "$@" >"$scratch/output" 2>&1 || { cat "$scratch/output" >&2; return 1; }
}

rootfs() { # DIR
    local dir=$1 image=kedge-rootfs proxies=() variable container backends=${BACKENDS-}
    "$here/backend-packages.sh" $backends >/dev/null # each of them is known
    "$here/base-image.sh"
    for variable in http_proxy https_proxy no_proxy; do
        if [ -n "${!variable-}" ]; then proxies+=(--build-arg "$variable"); fi
    done
    echo "Building the plugin's root file system (the first time it takes about a minute) ..."
    quietly "$docker" build --network host "${proxies[@]}" --build-arg "BACKENDS=$backends" \
        -t "$image" "$source"
    rm -rf "$dir/rootfs"
    mkdir -p "$dir/rootfs"
    container=$("$docker" create "$image" none)
    "$docker" export "$container" | tar -C "$dir/rootfs" -x
    "$docker" rm "$container" >/dev/null
    description "$backends" >"$dir/config.json"
}

description() { # BACKENDS: config.json; clients of other machines need the network, and FUSE
    local edits=()
    if [ -n "$1" ]; then
        edits=(
            -e "s|\"description\": \"Volumes that follow a service|& (with: $1)|"
            -e 's|"network": {"type": ""}|"network": {"type": "host"}|'
            -e 's|"devices": \[\]|"devices": [{"name": "fuse", "path": "/dev/fuse"}]|'
        )
    fi
    case " $1 " in # a node that cuts itself off resets the connections of its client
        *" gluster "*) edits+=(-e 's|"CAP_SYS_PTRACE"|&, "CAP_NET_ADMIN"|') ;;
    esac
    sed "${edits[@]}" -e '' "$source/plugin/config.json"
}

built_in() { # the backends of the installed plugin
    "$docker" plugin inspect "$name" --format '{{.Config.Description}}' | sed -n 's/.*(with: \(.*\)).*/\1/p'
}

create() { # [DIR]
    local dir=${1-}
    if [ -z "$dir" ]; then
        dir=$scratch/plugin
        rootfs "$dir"
    fi
    echo "Creating the plugin $name ..."
    "$docker" plugin create "$name" "$dir" >/dev/null
}

installed() { "$docker" plugin inspect "$name" >/dev/null 2>&1; }

settings() { # what `docker plugin set` was told, as its arguments, one a line
    "$docker" plugin inspect "$name" --format \
        '{{range .Settings.Env}}{{.}}{{"\n"}}{{end}}{{range .Settings.Mounts}}{{.Name}}.source={{.Source}}{{"\n"}}{{end}}' |
        grep . || true
}

install_plugin() { # [DIR]
    local kept=() dir=${1-}
    if [ -S "/run/docker/plugins/$name.sock" ]; then
        echo "The service kedge is installed and serves the same name: make uninstall-service" >&2
        exit 1
    fi
    if [ -z "$dir" ]; then
        dir=$scratch/plugin
        if installed; then : "${BACKENDS=$(built_in)}"; fi
        rootfs "$dir" # before the old one is stopped
    fi
    if installed; then
        mapfile -t kept < <(settings)
        echo "Upgrading: settings, volumes and data are kept."
        "$docker" plugin disable -f "$name" >/dev/null 2>&1 || true
        "$docker" plugin rm -f "$name" >/dev/null
    fi
    create "$dir"
    if [ ${#kept[@]} -gt 0 ]; then "$docker" plugin set "$name" "${kept[@]}"; fi
    "$docker" plugin enable "$name" >/dev/null
    sed "s|@PLUGIN@|$name|" "$here/kedge-command.sh" | install -D -m 755 /dev/stdin "$wrapper"
    echo "The plugin $name is enabled; the command is $wrapper."
}

containers() { # those with a volume of the plugin, running or not: ID and name
    local volume
    "$docker" volume ls -q --filter "driver=$name:latest" | while read -r volume; do
        "$docker" ps -a --filter "volume=$volume" --format '{{.ID}} {{.Names}}'
    done | sort -u
}

uninstall() {
    local data=/var/lib
    if installed; then
        data=$("$docker" plugin inspect "$name" --format '{{range .Settings.Mounts}}{{if eq .Name "data"}}{{.Source}}{{end}}{{end}}')
        # Docker calls a plugin in use as long as it has volumes; they may stay, containers not
        if [ -n "$(containers)" ]; then
            echo "Containers have volumes of $name; remove them first:" >&2
            containers >&2
            exit 1
        fi
        "$docker" plugin disable -f "$name" >/dev/null
        "$docker" plugin rm -f "$name" >/dev/null # volumes count as a use, and stay
        echo "The plugin $name is removed."
    else
        echo "There is no plugin $name."
    fi
    rm -f "$wrapper"
    echo "Volumes and their data stay in $data/kedge: install kedge again to use them, or delete that directory."
}

case ${1-} in
    rootfs) rootfs "${2:?plugin.sh rootfs DIR}" ;;
    create) create "${2-}" ;;
    install) install_plugin "${2-}" ;;
    uninstall) uninstall ;;
    built-in) built_in ;; # for the tests
    *) sed -n '2,10s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
