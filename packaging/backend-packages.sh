#!/bin/sh
# backend-packages.sh BACKEND...: the Debian packages with the tools of these backends, on one line.
# (The Python packages of all backends are in requirements-run.lock.)
set -eu
packages=
for backend in "$@"; do
    case $backend in
        local | s3) ;;
        ceph) packages="$packages python3-rados python3-rbd ceph-common ceph-fuse rbd-fuse" ;;
        gluster) packages="$packages glusterfs-client glusterfs-cli" ;;
        *)
            echo "unknown backend '$backend' in BACKENDS; valid: ceph, gluster, local, s3" >&2
            exit 2
            ;;
    esac
done
echo $packages
