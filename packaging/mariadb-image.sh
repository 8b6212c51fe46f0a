#!/usr/bin/env bash
# mariadb-image.sh: make sure that the engine at DOCKER_HOST has the image kedge-mariadb, which the
# demo and the tests run. It is built once per machine and kept as a tar under KEDGE_CACHE.
set -euo pipefail
image=kedge-mariadb
here=$(cd "$(dirname "$0")" && pwd)
cache=${KEDGE_CACHE:-/var/cache/kedge}
docker=${DOCKER:-docker}
recipe=$(cat "$here"/demo/mariadb/* | sha256sum | cut -c1-12)
tar=$cache/mariadb-$recipe.tar

if [ "$("$docker" image inspect -f '{{index .Config.Labels "recipe"}}' "$image" 2>/dev/null)" = "$recipe" ]; then
    exit 0
fi
install -d "$cache"
exec 9>"$cache/mariadb.lock"
flock 9
if [ -e "$tar" ]; then
    "$docker" load -q -i "$tar" >/dev/null
    exit 0
fi
"$here/base-image.sh"
echo "Building the image $image from Debian's packages (once per machine) ..."
output=$("$docker" build --network host --label "recipe=$recipe" -t "$image" "$here/demo/mariadb" 2>&1) ||
    { echo "$output" >&2; exit 1; }
"$docker" save -o "$tar.part" "$image"
mv "$tar.part" "$tar"
