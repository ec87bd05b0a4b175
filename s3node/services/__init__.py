"""s3node.services."""
