"""Tests: `unit` and `contract` are fast; `engine`, `lab` and `swarm` need root and real parts."""
