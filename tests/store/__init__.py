"""The store: formats, engines, the disk set, scan."""
