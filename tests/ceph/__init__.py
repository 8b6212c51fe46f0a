"""The backend `ceph` on a real cluster, as a client with the capabilities of docs/ceph.md."""
