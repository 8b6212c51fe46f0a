#!/usr/bin/env bash
# demo.sh run | clean: from nothing to a MariaDB whose data outlive its container.
# May be run again and again: the volume, and the rows in it, are kept until `clean`.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
docker=${DOCKER:-docker}
volume=kedge-demo
mark=/run/kedge-demo.engine # exists while the engine is one that this script started
log=/var/log/kedge-demo-dockerd.log

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { # print a command as one would type it, then run it
    printf '\033[36m$ %s\033[0m\n' "$(printf '%q ' docker "$@" | sed 's/ $//')"
    "$docker" "$@"
}
ask() { # CONTAINER SQL
    printf '\033[36m$ docker exec %s mariadb --table -e "%s"\033[0m\n' "$1" "$2"
    "$docker" exec "$1" mariadb --table -e "$2"
}

answers() { "$docker" version >/dev/null 2>&1; }

engine() {
    if answers; then return; fi
    if ! command -v dockerd >/dev/null; then "$here/needs.sh" docker.io iptables; fi
    if ! command -v "$docker" >/dev/null; then "$here/needs.sh" docker.io; fi
    if answers; then return; fi
    if [ -d /run/systemd/system ]; then
        say "Starting the Docker engine"
        systemctl start docker
    else
        say "Starting a Docker engine: none runs, and this machine has no systemd to start one"
        # without a bridge: the demo needs no network, and leaves the machine's alone
        setsid dockerd --bridge none --iptables=false >"$log" 2>&1 &
        echo $! >"$mark"
        echo "Its log: $log. To stop it: make clean-demo, or kill \$(cat $mark)"
    fi
    for _ in $(seq 300); do
        if answers; then return; fi
        sleep 0.1
    done
    echo "The Docker engine does not start; see $log or: journalctl -u docker" >&2
    exit 1
}

database() { # CONTAINER: start a MariaDB on the volume and wait until it answers
    show run --detach --name "$1" --network none --volume "$volume:/var/lib/mysql" kedge-mariadb
    for _ in $(seq 600); do
        if "$docker" exec "$1" mariadb -e 'SELECT 1' >/dev/null 2>&1; then return; fi
        sleep 0.1
    done
    echo "The database does not start: docker logs $1" >&2
    exit 1
}

remove_containers() { "$docker" rm -f "$volume-1" "$volume-2" >/dev/null 2>&1 || true; }

run() {
    engine
    say "The driver, from this checkout, as Docker's managed plugin"
    remove_containers
    "$here/plugin.sh" install ${KEDGE_BUILT:+"$KEDGE_BUILT"}
    "$here/mariadb-image.sh"
    show plugin ls

    say "A volume, and a MariaDB that keeps its data on it"
    show volume create --driver "${KEDGE_PLUGIN:-kedge}" "$volume"
    database "$volume-1"
    ask "$volume-1" "CREATE DATABASE IF NOT EXISTS demo; CREATE TABLE IF NOT EXISTS demo.log (id INT AUTO_INCREMENT PRIMARY KEY, at TIMESTAMP DEFAULT NOW(), text VARCHAR(80))"
    ask "$volume-1" "INSERT INTO demo.log (text) VALUES ('written by the first container'), ('so was this')"

    say "The container is gone, with everything that was in it but the volume"
    show rm --force "$volume-1"

    say "A second container on the same volume has the rows"
    database "$volume-2"
    ask "$volume-2" "SELECT * FROM demo.log"

    say "What the driver says about the volume"
    show volume inspect "$volume"

    say "That was it"
    echo "Look around:  docker exec -it $volume-2 mariadb"
    echo "              ${KEDGE_COMMAND:-kedge} ls;  ${KEDGE_COMMAND:-kedge} doctor"
    echo "Clean up:     make clean-demo"
    if [ -e "$mark" ]; then
        echo "The Docker engine was started by this demo and goes on running until then."
    fi
}

clean() {
    if answers; then
        remove_containers
        "$docker" volume rm "$volume" >/dev/null 2>&1 || true
        "$here/plugin.sh" uninstall
        "$docker" image rm -f kedge-mariadb kedge-rootfs >/dev/null 2>&1 || true
    fi
    if [ -e "$mark" ]; then stop_engine; fi
}

stop_engine() {
    local pid
    pid=$(cat "$mark")
    kill "$pid" 2>/dev/null || true
    for _ in $(seq 200); do
        [ -e "/proc/$pid" ] || break
        sleep 0.1
    done
    umount /run/docker/netns/default 2>/dev/null || true # dockerd leaves it behind
    rm -f "$mark"
    echo "The Docker engine is stopped. What it kept, such as images, is in /var/lib/docker."
}

case ${1-} in
    run) run ;;
    clean) clean ;;
    *) sed -n '2,3s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
