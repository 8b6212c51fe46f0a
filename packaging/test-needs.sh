#!/usr/bin/env bash
# test-needs.sh: what the tests need beside the Python environment, on a bare Debian 12.
set -euo pipefail
needs=$(dirname "$0")/needs.sh
if ! command -v dockerd >/dev/null; then "$needs" docker.io; fi # else leave the engine that is there
exec "$needs" \
    python3-venv iptables busybox-static mmdebstrap debian-archive-keyring ca-certificates \
    mariadb-server postgresql sysbench systemd mount util-linux iproute2 e2fsprogs xfsprogs attr procps fio \
    glusterfs-server glusterfs-client glusterfs-cli \
    ceph-mon ceph-mgr ceph-osd ceph-mds radosgw ceph-common ceph-fuse rbd-fuse python3-rados python3-rbd
