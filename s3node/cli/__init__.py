"""The command line: click groups over functions that the composition root hands in.

`group` is the whole program; it is called with ``obj=Commands(...)``. Exit status 0: done;
1: a problem was found, or the work failed; 2: wrong usage or configuration.
"""

from s3node.cli.commands import Commands, Progress
from s3node.cli.root import group

__all__ = ["Commands", "Progress", "group"]
