"""``dataclass`` for the values that every call makes a score of: frozen to the type checker, cheap to make.

Rules: use it as ``dataclasses.dataclass``, with ``frozen=True``.  mypy sees the standard library's and refuses every
assignment; at run time nothing watches, for the watch costs each field an ``object.__setattr__``: six fields take
0.7 us to make when frozen and 0.3 us so, an eighth of a call altogether.  Equality and hash are a frozen dataclass's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dataclasses import dataclass
else:
    import dataclasses

    def dataclass(*, frozen: bool = False, **options: Any) -> Any:
        """The decorator; ``frozen`` is for the type checker."""
        return dataclasses.dataclass(unsafe_hash=frozen, **options)


__all__ = ["dataclass"]
