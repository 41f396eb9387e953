"""The process's log on standard error, as text or as one JSON object a line.  No secret is ever passed to it."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """``{"time": ..., "level": ..., "logger": ..., "message": ...}`` and whatever ``extra`` a line has."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update({name: value for name, value in record.__dict__.items() if name not in _STANDARD})
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def format_notice(form: str, text: str, **extra: str) -> str:
    """What is said whatever is logged, in the log's own form: ``text`` as it is, or a JSON object with ``extra``."""
    if form != "json":
        return text
    record = logging.makeLogRecord({"name": "opentrail", "levelno": logging.INFO, "levelname": "INFO", **extra})
    record.msg = text.splitlines()[0]
    return JsonFormatter().format(record)


def set_up_logging(*, form: str, level: str) -> None:
    """Log ``level`` and above to standard error in ``form`` (text or json)."""
    handler = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    # uvicorn tells of its own start and end, which the command does in its own words.
    logging.getLogger("uvicorn").setLevel("ERROR" if level != "debug" else "DEBUG")
