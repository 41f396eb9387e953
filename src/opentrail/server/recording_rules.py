"""Where the rules of records are kept: ``record_rules/*.json`` beside this module, and a user's own file."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson

from opentrail.core.errors import ConfigError, FormatError
from opentrail.core.recording.rules import RecordRules, parse_rules


def load_rules(own: Path | None = None) -> RecordRules:
    """The rules of the files that come with the program, and then of the user's ``own``.

    Raises ``ConfigError`` where the user's file cannot be used.
    """
    shipped = _shipped_documents()
    if own is None:
        return parse_rules(shipped)
    try:
        document = orjson.loads(own.read_bytes())
        if not isinstance(document, dict):
            raise ConfigError(f"--record-rules {own}: a JSON object is expected")
        return parse_rules([*shipped, document])
    except OSError as error:
        raise ConfigError(f"--record-rules {own}: {error.strerror}") from None
    except orjson.JSONDecodeError as error:
        raise ConfigError(f"--record-rules {own}: not JSON: {error}") from None
    except FormatError as error:
        raise ConfigError(f"--record-rules {own}: {error}; see docs/records.md") from None


def _shipped_documents() -> list[dict[str, Any]]:
    folder = files("opentrail.server") / "record_rules"
    found = sorted((each for each in folder.iterdir() if each.name.endswith(".json")), key=lambda each: each.name)
    return [orjson.loads(each.read_bytes()) for each in found]
