"""Contract tests, shipped so that anybody can prove a backend of their own."""
