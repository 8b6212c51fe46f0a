"""The machine: mount table, mounts, loop devices, file systems, processes. The only place that
runs a program or calls mount(2). Knows nothing of volumes.

Every effect announces itself with `sys.audit("kedge.<what>", ...)`, as CPython's own do: an
operator can record them, and a test can stop the process between any two of them.
"""
