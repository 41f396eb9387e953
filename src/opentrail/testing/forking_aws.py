"""The process behind ``warm_aws``: the AWS CLI imported once, and forked for each command.

Started by path, with the AWS CLI's own Python, which need not know Opentrail.

Rules: only imports happen before a fork, so each command sees the AWS CLI as a process of its own would: its arguments,
environment, folder, standard streams.  One thread, so that a fork is whole.  It ends when its standard input does.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys

import awscli.clidriver  # type: ignore[import-untyped]  # the AWS CLI has no stubs
import awscli.handlers  # type: ignore[import-untyped]  # the same; it imports every customization
import botocore.httpsession  # noqa: F401  what the first client would import

_DATA_PATH = os.environ["AWS_DATA_PATH"]  # importing the AWS CLI has set it


def _serve(listener: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    gc.freeze()
    while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _answer(connection)
        connection.close()


def _answer(connection: socket.socket) -> None:
    """Run the command that ``connection`` brings, as this process; its exit status is the answer."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    status = 255
    try:
        _, streams, _, _ = socket.recv_fds(connection, 1, 3)
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        arguments, environment, folder = json.load(connection.makefile())
        os.chdir(folder)
        os.environ.clear()
        os.environ.update(environment | {"AWS_DATA_PATH": _DATA_PATH})
        sys.argv = ["aws", *arguments]
        status = awscli.clidriver.main()
        sys.stdout.flush()
        sys.stderr.flush()
    except SystemExit as ending:
        status = ending.code if isinstance(ending.code, int) else 1
    finally:
        connection.send(bytes([status]))
        os._exit(0)  # what this process was before the fork is not its own to tidy up


if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(sys.argv[1])
        opened.listen(16)
        print(flush=True)  # noqa: T201  says that it listens
        _serve(opened)
