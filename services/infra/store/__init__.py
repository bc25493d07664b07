"""The state that processes share in Redis."""
