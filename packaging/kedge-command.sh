#!/bin/sh
# kedge: runs the command of the same name inside the managed plugin, where its sockets are.
set -eu
id=$(docker plugin inspect -f '{{if .Enabled}}{{.Id}}{{end}}' @PLUGIN@) || exit 69
if [ -z "$id" ]; then
    echo "kedge: the plugin @PLUGIN@ is disabled: docker plugin enable @PLUGIN@" >&2
    exit 69
fi
read -r pid < "/run/docker/plugins/$id/kedge.pid" || {
    echo "kedge: the plugin @PLUGIN@ is not running; see the engine's log" >&2
    exit 69
}
exec nsenter -t "$pid" -m -u -n -- /opt/kedge/bin/kedge "$@"
