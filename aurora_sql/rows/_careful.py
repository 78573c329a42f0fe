"""Make one row the long way: everything checked, every error with its place.

The compiled makers hand a row over to this when a cheap test fails or a constructor complains.
What they make of a good row is what this makes of it; the tests compare the two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

from aurora_sql.errors import RowValidationError
from aurora_sql.rows._annotations import describe_column, show
from aurora_sql.rows._nodes import Branch, Leaf, Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aurora_sql.rows._row import Row

_SHOWN = 5  # errors of one row that are told


class Careful:
    """Makes single rows, for one plan.

    Args:
        root: The plan.
        where: Names the statement in errors.
    """

    __slots__ = ("_root", "_where")

    def __init__(self, root: Leaf | Branch, where: str) -> None:
        self._root = root
        self._where = where

    def __call__(self, row: Row, number: int) -> Any:
        """Make one row.

        Args:
            row: The row as it came.
            number: Its number in the result, or in the batch of a stream, from 0.

        Raises:
            RowValidationError: It does not fit; names the statement, the row, the column.
        """
        if isinstance(self._root, Leaf):
            return self._leaf(self._root, row, number)
        return self._branch(self._root, row, number)

    def _leaf(self, leaf: Leaf, row: Row, number: int) -> Any:
        value = row[leaf.number]
        if value is None and not leaf.nullable:
            self._fail(number, _null(leaf))
        if leaf.convert is None:
            return value
        return self._call(leaf, row, number, leaf.convert, value)

    def _entry(self, entry: Leaf | Branch, row: Row, number: int) -> Any:
        if isinstance(entry, Leaf):
            return self._leaf(entry, row, number)
        leaves = entry.leaves()
        if all(row[leaf.number] is None for leaf in leaves):
            if entry.nullable:
                return None
            names = ", ".join(leaf.column.name for leaf in leaves)
            kind = "" if entry.shape is None else entry.shape.name
            self._fail(
                number,
                f"all columns of {entry.label} ({names}) are NULL, and the field is {kind}: "
                f"make it {kind} | None",
            )
        return self._branch(entry, row, number)

    def _branch(self, branch: Branch, row: Row, number: int) -> Any:
        if branch.mode in (Mode.FIELDS, Mode.VALIDATE):
            build = branch.shape.build if branch.shape is not None else None
            if build is None:  # a shape of pydantic always has one
                raise AssertionError(branch)
            return self._call(branch, row, number, build, self._raw(branch, row, number))
        if branch.mode is Mode.RAW:
            return self._raw(branch, row, number)
        values = [self._entry(entry, row, number) for entry in branch.entries]
        if branch.mode is Mode.TUPLE:
            return tuple(values)
        named = {entry.key: value for entry, value in zip(branch.entries, values, strict=True)}
        if branch.mode is Mode.DICT or branch.shape is None:
            return named
        model = branch.shape.model
        return self._call(branch, row, number, lambda values: model(**values), named)

    def _raw(self, branch: Branch, row: Row, number: int) -> dict[str, Any]:
        """The input for a validator: no leaf is looked at, that is the validator's work."""
        values: dict[str, Any] = {}
        for entry in branch.entries:
            if isinstance(entry, Leaf):
                values[entry.key] = row[entry.number]
            elif all(row[leaf.number] is None for leaf in entry.leaves()):
                values[entry.key] = self._entry(entry, row, number)
            else:
                values[entry.key] = self._raw(entry, row, number)
        return values

    def _call(
        self,
        node: Leaf | Branch,
        row: Row,
        number: int,
        make: Callable[[Any], Any],
        value: Any,
    ) -> Any:
        try:
            return make(value)
        except (ValueError, TypeError, AssertionError) as exc:
            errors = getattr(exc, "errors", None)
            if errors is None:
                text = f"{node.label} cannot be made of it: {type(exc).__name__}: {exc}"
            else:
                # Not the text of the exception: that shows the values.
                found = errors(include_url=False, include_context=False, include_input=False)
                told = [_tell(node, row, item["loc"], item["msg"]) for item in found[:_SHOWN]]
                more = f"; and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
                text = "; ".join(told) + more
            raise RowValidationError(self._at(number, text)) from exc

    def _fail(self, number: int, text: str) -> NoReturn:
        raise RowValidationError(self._at(number, text))

    def _at(self, number: int, text: str) -> str:
        return f"{self._where}: row {number} (counted from 0): {text}"


def _null(leaf: Leaf) -> str:
    kind = show(leaf.annotation)
    return (
        f"{describe_column(leaf.column)} is NULL, and {leaf.label} is {kind}: "
        f"make it {kind} | None, or the statement return a value"
    )


def _tell(node: Leaf | Branch, row: Row, path: Sequence[str | int], message: str) -> str:
    """One error of pydantic, with the column that it is about."""
    rest = list(path)
    while rest and isinstance(node, Branch):
        found = _find(node, rest[0])
        if found is None:
            break
        node = found
        rest.pop(0)
    if isinstance(node, Leaf) and not rest and row[node.number] is None:
        return _null(node)
    label = ".".join([node.label, *(str(part) for part in rest)])
    if isinstance(node, Leaf):
        return f"{label}, from {describe_column(node.column)}: {message}"
    return f"{label}: {message}"


def _find(branch: Branch, part: str | int) -> Leaf | Branch | None:
    names = {part}
    for known in branch.shape.fields if branch.shape is not None else ():
        if part == known.name or part in known.aliases:
            names |= {known.name, *known.aliases}
    for entry in branch.entries:
        if entry.key in names or entry.name in names:
            return entry
    return None
