"""What crosses to another s3node: sites linked by replication, later hosts. Nothing yet.

The package stands so that the layers it will lie between are fixed: it may use `s3node.ops` and
everything below, and nothing below knows it.
"""
