"""The machine: mount table, loop devices, file systems. The only place that runs a program."""
