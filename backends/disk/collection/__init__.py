"""Giving back what nobody can need any more."""
