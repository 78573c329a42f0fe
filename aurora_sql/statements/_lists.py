"""Lists in ``IN (:ids)`` where the protocol has no arrays: one placeholder for each value.

A text for each length would be a prepared statement for each length. A list is therefore padded
with its last value to the next power of two, which changes neither what IN nor what NOT IN
answers, so that all its lengths share some 17 texts.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from aurora_sql.errors import ParameterError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aurora_sql.statements._statement import Variant

MAX_PLACEHOLDERS: Final = 65_535
"""The number of placeholders has 16 bits in the answer to COM_STMT_PREPARE."""

_KEPT: Final = 64
_LISTS: Final = (list, tuple, set, frozenset, range)


class Lists:
    """The texts of one variant by the lengths of its lists.

    The 64 that were used last are kept; of the others those that a connection still has prepared.

    Args:
        base: The variant; in its text each list has one value.
        names: Its lists, in the order of their first use.
    """

    __slots__ = ("_base", "_counts", "_firsts", "_fixed", "_known", "_names", "_recent")

    def __init__(self, base: Variant, names: Sequence[str]) -> None:
        self._base = base
        self._names = tuple(names)
        self._firsts = tuple(base.parameters.index(name) for name in names)
        self._counts = tuple(base.parameters.count(name) for name in names)
        self._fixed = len(base.parameters) - sum(self._counts)
        self._known: WeakValueDictionary[tuple[int, ...], Variant] = WeakValueDictionary()
        self._recent: OrderedDict[tuple[int, ...], Variant] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Lists {', '.join(self._names)}: {len(self._known)} texts>"

    def expand(self, values: Sequence[Any]) -> tuple[Variant, Sequence[Any]]:
        """Choose the text for these lists and put all values in its order.

        Args:
            values: One value for each placeholder of the base variant.

        Raises:
            ParameterError: A value is no list, or there are too many values.
        """
        lists = [
            self._listed(values[at], name)
            for at, name in zip(self._firsts, self._names, strict=True)
        ]
        lengths = [len(each) for each in lists]
        sizes = tuple(1 << (length - 1).bit_length() if length else 0 for length in lengths)
        if self._total(sizes) > MAX_PLACEHOLDERS:
            sizes = self._squeezed(lengths, sizes)
        for each, length, size in zip(lists, lengths, sizes, strict=True):
            if size > length:
                each.extend(each[-1:] * (size - length))
        variant = self._variant(sizes)
        by_name = dict(zip(self._names, lists, strict=True))
        flat: list[Any] = []
        for name, value in zip(self._base.parameters, values, strict=True):
            if name in by_name:
                flat += by_name[name]
            else:
                flat.append(value)
        return variant, flat

    def _listed(self, value: Any, name: str) -> list[Any]:
        if isinstance(value, _LISTS):
            return list(value)
        raise ParameterError(
            f"{self._base.statement.where}: :{name} stands in IN (:{name}) and takes a list, "
            f"tuple, set, frozenset or range, not {type(value).__name__}; write [value] for one"
        )

    def _total(self, sizes: Sequence[int]) -> int:
        return self._fixed + sum(map(int.__mul__, self._counts, sizes))

    def _squeezed(self, lengths: Sequence[int], sizes: tuple[int, ...]) -> tuple[int, ...]:
        """Sizes that fit: the longest list takes what room is left, or nothing is padded."""
        longest = max(range(len(sizes)), key=lambda at: self._counts[at] * lengths[at])
        count = self._counts[longest]
        rest = self._total(sizes) - count * sizes[longest]
        room = (MAX_PLACEHOLDERS - rest) // count
        if room >= lengths[longest]:
            return (*sizes[:longest], room, *sizes[longest + 1 :])
        total = self._total(lengths)
        if total <= MAX_PLACEHOLDERS:
            return tuple(lengths)
        name = self._names[longest]
        raise ParameterError(
            f"{self._base.statement.where}: :{name} has {lengths[longest]} values, which makes "
            f"{total} placeholders, more than the {MAX_PLACEHOLDERS} of one statement: send the "
            "list in parts, or put it into a table and join that"
        )

    def _variant(self, sizes: tuple[int, ...]) -> Variant:
        recent = self._recent
        variant = recent.get(sizes)
        if variant is not None:
            recent.move_to_end(sizes)
            return variant
        # A connection that has it prepared knows it by identity: it must not be made twice.
        variant = self._known.get(sizes)
        if variant is None:
            variant = self._base.with_sizes(dict(zip(self._names, sizes, strict=True)))
            self._known[sizes] = variant
        recent[sizes] = variant
        if len(recent) > _KEPT:
            recent.popitem(last=False)
        return variant
