"""Ad hoc SQL: parsed once, then as quick as a statement of a file."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from aurora_sql.errors import ParameterError
from aurora_sql.statements import Statement

if TYPE_CHECKING:
    from aurora_sql.types import Cardinality


class QueryBuilder(Protocol):
    """A query that gives its text: pypika's builders do."""

    def get_sql(self, **kwargs: Any) -> str:
        """Return the SQL."""


Query: TypeAlias = str | QueryBuilder


class AdHocStatements:
    """The latest ad hoc statements, parsed.

    Args:
        dialect: ``postgresql`` or ``mysql``.
        size: Most statements kept; the one not used for longest goes first.

    Attributes:
        dialect: The same.
    """

    def __init__(self, dialect: str, size: int = 512) -> None:
        self.dialect = dialect
        self._size = size
        self._known: OrderedDict[tuple[str, Cardinality, type[Any] | None], Statement] = (
            OrderedDict()
        )

    def get(
        self, query: str | QueryBuilder, cardinality: Cardinality, model: type[Any] | None
    ) -> Statement:
        """Return the statement for a text, a cardinality and a model.

        Raises:
            ParameterError: ``query`` is neither text nor a query builder.
            StatementFileError: The text is not one statement.
        """
        text = query if isinstance(query, str) else _text(query)
        key = (text, cardinality, model)
        known = self._known.get(key)
        if known is None:
            known = Statement.from_sql(text, self.dialect, cardinality=cardinality, returns=model)
            self._known[key] = known
            if len(self._known) > self._size:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(key)
        return known


def _text(query: Any) -> str:
    get_sql = getattr(query, "get_sql", None)
    if get_sql is None:
        raise ParameterError(f"SQL must be a string or a pypika query, not {type(query).__name__}")
    text: str = get_sql()
    if not text:
        raise ParameterError("the query builder gave an empty text: the query is not complete")
    return text
