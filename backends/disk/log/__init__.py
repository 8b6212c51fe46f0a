"""The local log: what was confirmed here and may not be in the bucket yet."""
