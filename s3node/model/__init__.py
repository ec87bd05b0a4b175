"""s3node.model."""
