"""`python -m s3node`."""

from s3node.main import run

run()
