"""Measurements: ratios against a named alternative in the same run, never timed tests."""
