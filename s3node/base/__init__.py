"""s3node.base."""
