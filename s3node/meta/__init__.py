"""s3node.meta."""
