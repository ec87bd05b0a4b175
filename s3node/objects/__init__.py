"""s3node.objects."""
