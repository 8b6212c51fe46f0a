#!/usr/bin/env bash
# venv.sh DIR: a virtual environment with the locked dependencies of development.
# Made with the distribution's own Python, because the Ceph bindings exist for that one only.
set -euo pipefail
dir=$1
python=/usr/bin/python3
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    apt-get update -q
    apt-get install -qy --no-install-recommends python3 python3-venv
fi
"$python" -m venv "$dir"
"$dir/bin/pip" install -q --disable-pip-version-check --require-hashes -r requirements.lock
