"""From the bucket to whoever reads: the cache, and what is fetched before it is asked for."""
