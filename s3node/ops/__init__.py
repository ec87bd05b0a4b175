"""s3node.ops."""
