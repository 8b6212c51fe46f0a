"""The disk as values and rules, without I/O, clock, randomness: formats, map, history, liveness."""
