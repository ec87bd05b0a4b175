"""`python -m s3node` is the same as the command `s3node`."""

from s3node.main import run

run()
