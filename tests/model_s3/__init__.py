"""A small S3 beside the node: the same requests to both, every answer compared."""
