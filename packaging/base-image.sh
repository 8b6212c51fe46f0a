#!/usr/bin/env bash
# base-image.sh: make sure that the engine at DOCKER_HOST has the image that the Dockerfiles
# start from. It is pulled if that works; else it is made from Debian's packages, once per machine
# (kept as a tar under KEDGE_CACHE), and imported under the same name.
set -euo pipefail
image=debian:bookworm-slim
release=bookworm
here=$(cd "$(dirname "$0")" && pwd)
cache=${KEDGE_CACHE:-/var/cache/kedge}
docker=${DOCKER:-docker}
tar=$cache/base-$release.tar

bootstrap() { # -> $tar
    local scratch sources
    "$here/needs.sh" mmdebstrap debian-archive-keyring ca-certificates
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' RETURN
    "$here/machine-settings.sh" "$scratch/tree"
    mapfile -t sources < <(find "$scratch/tree/etc/apt" -name '*.sources' -o -name 'sources.list' -o -name '*.list')
    tar -C "$scratch/tree" -cf "$scratch/tree.tar" .
    # shellcheck disable=SC2016 # expanded by mmdebstrap's hook
    # usr-is-merged instead of usrmerge, which would bring all of Perl
    mmdebstrap --quiet --mode=root --variant=apt --include=usr-is-merged \
        --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
        --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Languages "none"' \
        --aptopt="$scratch/tree/etc/apt/apt.conf.d/50machine" \
        --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
        --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='path-exclude=/usr/share/info/*' \
        --customize-hook='rm "$1"/etc/apt/apt.conf.d/99mmdebstrap "$1"/etc/apt/sources.list.d/0000*' \
        --customize-hook="tar -C \"\$1\" -xf $scratch/tree.tar" \
        "$release" "$tar.part.tar" "${sources[@]}"
    mv "$tar.part.tar" "$tar"
}

if "$docker" image inspect "$image" >/dev/null 2>&1; then exit 0; fi
if [ ! -e "$tar" ]; then
    echo "Looking for $image ..."
    if timeout -k 5 "${KEDGE_PULL_TIMEOUT:-60}" "$docker" pull -q "$image" 2>/dev/null; then exit 0; fi
    install -d "$cache"
    exec 9>"$cache/base.lock"
    flock 9 # two runs at once make it once
fi
if [ ! -e "$tar" ]; then
    echo "It cannot be pulled here: making it from Debian's packages (about half a minute, once per machine) ..."
    bootstrap
fi
"$docker" import --change 'CMD ["bash"]' "$tar" "$image" >/dev/null
echo "$image imported from $tar"
