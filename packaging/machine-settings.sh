#!/usr/bin/env bash
# machine-settings.sh DIR: write into DIR, a root tree, how this machine reaches its package
# registries: apt sources and Acquire options, pip's index settings, certificate authorities.
# A build inside the base image then works wherever apt and pip work on the machine itself,
# and the Dockerfile needs to know nothing about it.
set -euo pipefail
dir=$1
release=bookworm

apt_sources() { # Debian's own archive only: third parties' keys are not in the image
    local file
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
        if [ ! -f "$file" ] || ! grep -q "$release" "$file"; then continue; fi
        if ! grep -iq signed-by "$file" || grep -iq 'signed-by.*debian-archive' "$file"; then
            install -D -m 644 "$file" "$dir/$file"
        fi
    done
}

apt_options() { # what this machine changed of apt's transport, e.g. a proxy
    local defaults=$1/apt-defaults
    echo 'Dir::Etc "/nonexistent";' >"$defaults.conf"
    APT_CONFIG=$defaults.conf apt-config dump Acquire >"$defaults"
    install -d "$dir/etc/apt/apt.conf.d"
    apt-config dump Acquire | grep -Fxv -f "$defaults" | grep -v '::IndexTargets' \
        >"$dir/etc/apt/apt.conf.d/50machine" || true
    if [ -e /etc/apt/auth.conf ]; then install -m 600 /etc/apt/auth.conf "$dir/etc/apt/"; fi
    if compgen -G '/etc/apt/auth.conf.d/*' >/dev/null; then
        install -d "$dir/etc/apt/auth.conf.d"
        install -m 600 /etc/apt/auth.conf.d/* "$dir/etc/apt/auth.conf.d/"
    fi
}

pip_options() { # settings that name files of this machine mean nothing in the image
    local pip
    pip=$(command -v pip3 || command -v pip || true)
    [ -n "$pip" ] || return 0
    {
        echo '[global]'
        "$pip" config list | tr -d "'" | sed -nE 's/^(global|install|:env:)\.+//p' |
            grep -E '^(index-url|extra-index-url|trusted-host|proxy|default-timeout|timeout)=' |
            grep -vE '=(/|file:)' | sed -E 's/^default-timeout/timeout/; s/=/ = /' | sort -u
        echo 'cert = /etc/ssl/certs/ca-certificates.crt'
    } >"$dir/etc/pip.conf"
}

authorities() {
    install -D -m 644 /etc/ssl/certs/ca-certificates.crt "$dir/etc/ssl/certs/ca-certificates.crt"
    if compgen -G '/usr/local/share/ca-certificates/*.crt' >/dev/null; then
        install -d "$dir/usr/local/share/ca-certificates"
        install -m 644 /usr/local/share/ca-certificates/*.crt "$dir/usr/local/share/ca-certificates/"
    fi
}

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
apt_sources
apt_options "$scratch"
pip_options
authorities
