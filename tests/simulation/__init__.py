"""A simulated world: a file system that forgets, tears and fails, always the same way."""
