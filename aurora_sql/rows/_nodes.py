"""The plan of a model: which column fills which field, and how each part is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from aurora_sql.rows._shapes import Field, Shape
    from aurora_sql.types import Column


class Mode(Enum):
    """How the value of a branch is made."""

    FIELDS = "fields"
    """A pydantic model, field by field: its validator would change nothing."""

    VALIDATE = "validate"
    """A pydantic model, by its validator, from a dict."""

    RAW = "raw"
    """A dict for the validator of a model further out."""

    CALL = "call"
    DICT = "dict"
    TUPLE = "tuple"


@dataclass(slots=True)
class Leaf:
    """One column, and where its value goes.

    Attributes:
        number: Position of the column.
        column: The column.
        label: What it fills, such as ``Order.customer.email``.
        name: Name of the field.
        key: What the constructor calls the field.
        annotation: Type of the field.
        nullable: NULL may be handed on.
        exact: The model's validator would hand every value through, None apart.
        convert: Makes the field's value; None to take the column's as it is.
        finite: Infinity and NaN must go through the validator, which refuses them.
        keyword: The constructor takes it by keyword only.
    """

    number: int
    column: Column
    label: str
    name: str
    key: str
    annotation: Any
    nullable: bool
    exact: bool = False
    convert: Callable[[Any], Any] | None = None
    finite: bool = False
    keyword: bool = False


@dataclass(slots=True)
class Branch:
    """A model, or a tuple of columns, and what fills it.

    Attributes:
        shape: The model; None for a tuple.
        label: What it fills.
        name: Name of the field that it fills; empty at the root.
        key: What the constructor of the model around it calls that field.
        nullable: None is handed on if all its columns are NULL.
        mode: How it is made.
        entries: What fills its fields, in the order of the fields.
        absent: Fields that no column fills.
        keyword: The constructor around it takes it by keyword only.
    """

    shape: Shape | None
    label: str
    name: str
    key: str
    nullable: bool
    mode: Mode
    entries: list[Leaf | Branch] = field(default_factory=list)
    absent: list[Field] = field(default_factory=list)
    keyword: bool = False

    def leaves(self) -> list[Leaf]:
        """All columns in it, those of nested models too."""
        found: list[Leaf] = []
        for entry in self.entries:
            found.extend([entry] if isinstance(entry, Leaf) else entry.leaves())
        return found
