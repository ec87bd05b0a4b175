"""What is refused at start, before anything listens or a disk is touched.

Each check raises ConfigError with one line that says what is wrong and what to do. The one thing
that is changed here is the soft limit of file descriptors, which is raised to the hard one.
"""

from __future__ import annotations

import resource
from collections.abc import Callable

from s3node.base import limits
from s3node.base.errors import ConfigError
from s3node.config import Config

IsMount = Callable[[str], bool]


def refuse_optimised(debug: bool = __debug__) -> None:
    """Invariants are assert statements: without them a bug would write on."""
    if not debug:
        raise ConfigError("python -O removes the checks that stop a bug: run without -O")


def refuse_exposed_keys(config: Config) -> None:
    """Keys that nobody chose, or that can be guessed, or that others could read on the wire."""
    keys = config.keys
    if keys is None:
        raise ConfigError("there are no keys to serve with")
    if config.tls is None and not config.admin_listen.loopback:
        raise ConfigError(
            f"admin_listen = {config.admin_listen} is plain HTTP that others can reach, and "
            "would carry the root keys: use 127.0.0.1, or configure [tls]"
        )
    if config.tls is not None or config.listen.loopback:
        return
    fault = "were generated" if keys.generated else "are weak" if keys.weak else ""
    if fault:
        raise ConfigError(
            f"listen = {config.listen} is plain HTTP that others can reach, and the root keys "
            f"{fault}: set keys of your own (20 characters or more), or configure [tls]"
        )


def refuse_plain_directories(config: Config, is_mount: IsMount, exists: IsMount) -> None:
    """An unmounted mount point would let everything be written to the system's own disk.

    A path that is not there at all is a disk that is offline, which the node survives.
    """
    if config.allow_non_mount:
        return
    for slot, path in enumerate(config.disks):
        if exists(str(path)) and not is_mount(str(path)):
            raise ConfigError(
                f"disks[{slot}]: {path} is not a mount point: mount the disk, or remove the "
                "directory to start without it, or set allow_non_mount = true"
            )


def raise_descriptors(connections: int) -> None:
    """Make room for `connections` and what the node itself opens."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = max(limits.DESCRIPTORS_MIN, connections + limits.DESCRIPTORS_SPARE)
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise ConfigError(
            f"at most {hard} files may be open, {needed} are needed: raise the limit (ulimit -n, "
            f"LimitNOFILE=) or lower [limits] connections"
        )
    if soft < needed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))


def refuse(config: Config, is_mount: IsMount, exists: IsMount) -> None:
    """All of it."""
    refuse_optimised()
    refuse_exposed_keys(config)
    refuse_plain_directories(config, is_mount, exists)
    raise_descriptors(config.connections.total)
