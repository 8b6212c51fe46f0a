"""The service on each node: Docker on one side, the seam (`backends`) on the other."""
