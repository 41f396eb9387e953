"""``opentrail serve``: run the endpoint."""

from __future__ import annotations

import argparse
import sys

from opentrail.cli.options import add_settings, read_settings

EXAMPLES = """\
examples:
  opentrail serve
  opentrail serve --port 4600 --data-dir /var/lib/opentrail --delivery-interval 1m
  OPENTRAIL_LOG_FORMAT=json opentrail serve --config opentrail.toml

then, in another terminal:
  export AWS_SHARED_CREDENTIALS_FILE=opentrail-data/credentials AWS_ENDPOINT_URL=http://127.0.0.1:4577
  aws sts get-caller-identity
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options: every setting."""
    add_settings(parser)


def run(arguments: argparse.Namespace) -> int:
    """Serve until interrupted."""
    from opentrail.server.logs import set_up_logging  # noqa: PLC0415  --help needs none of the server
    from opentrail.server.serving import serve  # noqa: PLC0415  the same

    settings = read_settings(arguments)
    set_up_logging(form=settings.log_format, level=settings.log_level)
    return serve(settings, announce=lambda text: print(text, file=sys.stderr, flush=True))
