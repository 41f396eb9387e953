"""All kinds of tampering by name, and how to apply them to a trail, one or several at once."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from random import Random
from typing import Final

from opentrail.testing.sample_trail import SampleTrail
from opentrail.testing.tampered_digests import DIGEST_KINDS
from opentrail.testing.tampered_logs import LOG_KINDS
from opentrail.testing.tampering import NoPlaceError, Tampering, Touched


def _nothing(_: Touched) -> None:
    """Nothing to find."""


MATRIX: Final[Mapping[str, Tampering]] = {"untouched": _nothing, **LOG_KINDS, **DIGEST_KINDS}


def touch(trail: SampleTrail, *names: str, seed: int = 0) -> Touched:
    """A copy of ``trail`` after the kinds ``names`` of ``MATRIX``, at places that ``seed`` decides.

    A kind for which the others have left no place does nothing.
    """
    touched = Touched(trail=trail, objects=dict(trail.objects), random=Random(seed))  # noqa: S311  a test's choice of places is no secret
    for name in names:
        tried = touched.copy()
        with suppress(NoPlaceError):
            MATRIX[name](tried)
            touched = tried
    touched.tell_of_the_stop()
    return touched
