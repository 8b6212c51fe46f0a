"""Models of the protocols, small enough that every state can be looked at."""
