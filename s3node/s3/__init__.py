"""s3node.s3."""
