"""The backend `ceph` without a cluster."""
