"""The protocol layer: bytes in, values or S3Error out."""
