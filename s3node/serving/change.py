"""What of a configuration can change while the node runs, and how it is put to use.

Keys, domains, limits, the log's level and the files of the certificate can. Everything else says
what the node is, where it listens or how many processes it has: that is refused with a message,
all of it together, and the old configuration stays in use.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from pathlib import Path

from s3node.base import log
from s3node.base.errors import ConfigError
from s3node.base.shares import Bound, RequestBounds
from s3node.config import Config, Tls, changed
from s3node.edge.front import Front
from s3node.edge.s3_listener import S3Listener
from s3node.edge.tls import Files
from s3node.serving.control import Settings

LOG = logging.getLogger("s3node")

Again = Callable[[], Config]
"""The configuration as its file says now. ConfigError."""


def load_again(old: Config, again: Again) -> Config:
    """The new configuration; the old one, with a line in the log, when it cannot be used."""
    try:
        new = again()
        names = changed(old, new)
    except ConfigError as fault:
        LOG.error("the configuration was not loaded again, the old one stays: %s", fault)
        return old
    LOG.info("configuration loaded again", extra={"fields": {"changed": ", ".join(names)}})
    return new


def settings_of(config: Config) -> Settings:
    """What can change, as processes tell it each other."""
    assert config.keys is not None, "refused at start"
    return Settings(
        access=config.keys.access,
        secret=config.keys.secret,
        domains=config.domains,
        requests=config.requests,
        connections=config.connections,
        log_level=config.log_level,
        tls=config.tls and _names(config.tls),
    )


async def use(
    settings: Settings,
    secrets: MutableMapping[str, str],
    front: Front | None,
    s3: S3Listener | None = None,
    edges: int = 1,
) -> None:
    """From now on, in this process; requests that are being worked on keep what they began with.

    `edges` share the bound of requests.
    """
    log.hide(settings.secret)
    log.set_level(settings.log_level)
    secrets.clear()
    secrets[settings.access] = settings.secret
    if s3 is not None:
        s3.change(settings.domains, RequestBounds(*settings.requests).part(edges))
    if front is not None:
        front.limit(Bound(*settings.connections))
        await front.reload_certificate(settings.tls and _files(*settings.tls))


def _names(tls: Tls) -> tuple[str, str, str | None]:
    authorities = tls.client_authorities
    return str(tls.certificate), str(tls.key), str(authorities) if authorities else None


def _files(certificate: str, key: str, authorities: str | None) -> Files:
    return Path(certificate), Path(key), Path(authorities) if authorities else None
