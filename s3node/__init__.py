"""s3node."""
