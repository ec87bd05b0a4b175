"""s3node.edge."""
