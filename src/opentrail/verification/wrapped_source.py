"""A source around another one: what both sources that are made so leave as it is."""

from __future__ import annotations

from opentrail.verification.source import TrailSource


class WrappedSource:
    """The members of a ``TrailSource`` that are ``source``'s own; a subclass has those that list and read."""

    def __init__(self, source: TrailSource) -> None:
        self._source = source

    @property
    def name(self) -> str:
        """What a person called it."""
        return self._source.name

    @property
    def bucket(self) -> str:
        """The bucket that it is, or is a copy of."""
        return self._source.bucket

    @property
    def keeps_metadata(self) -> bool:
        """Whether the objects have the user metadata that they were delivered with."""
        return self._source.keeps_metadata

    @property
    def reads_at_once(self) -> int:
        """How many reads a process should keep under way."""
        return self._source.reads_at_once

    @property
    def survives_fork(self) -> bool:
        """Whether a fork that is made now can read."""
        return self._source.survives_fork

    def reopen(self) -> None:
        """Take nothing over from the process that forked this one."""
        self._source.reopen()

    def close(self) -> None:
        """Release what the source holds."""
        self._source.close()
