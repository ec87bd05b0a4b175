"""The group that all commands hang on, and where failures become exit statuses."""

from __future__ import annotations

from typing import Any

import click

from s3node.base.errors import ConfigError, S3Error, StorageFault
from s3node.cli import offline, online, serving
from s3node.cli.output import PROBLEM, USAGE, fail


class Root(click.Group):
    """Known failures become one line on stderr; anything else is a bug and keeps its trace."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except ConfigError as fault:
            fail(str(fault), USAGE)
        except (StorageFault, S3Error) as fault:
            fail(str(fault), PROBLEM)


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="s3node")
def group() -> None:
    """Self-hosted S3 object storage: erasure-coded, verifiable."""


for command in (
    serving.quickstart,
    serving.init,
    serving.serve,
    serving.config,
    online.status,
    online.disk,
    offline.check,
    offline.meta,
    offline.inspect,
):
    group.add_command(command)
