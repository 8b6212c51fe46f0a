"""Into the bucket: data and records in their order, checkpoints."""
