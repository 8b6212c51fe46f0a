"""Volumes on a Ceph cluster under a real engine, with the driver in either packaging."""
