"""Arrays of single values, without what asyncpg does to find out that they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class FlatArray(list[Any]):
    """The values of an array parameter, none of which is an array itself.

    asyncpg goes through an array twice: for its shape, where it asks abstract base classes about
    each element, and to encode the elements. The first takes longer than the second. This one
    shows nothing to the look at the shape, which leaves it one dimension of its length.
    Source: ``_get_array_shape()`` and ``array_encode()`` in asyncpg/protocol/codecs/array.pyx.
    """

    __slots__ = ("_encoding",)

    def __init__(self, values: Iterable[Any]) -> None:
        super().__init__(values)
        self._encoding = False

    def __iter__(self) -> Iterator[Any]:
        encoding = self._encoding
        self._encoding = not encoding
        return list.__iter__(self) if encoding else iter(())
