"""s3node.store."""
