"""A table as a collection of models, for the statements that are the same everywhere.

Anything beyond one row by its key belongs in a SQL file, where it can be read and reviewed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import asynccontextmanager
from copy import copy
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from aurora_sql.bulk import (
    check_columns,
    field_names,
    is_model,
    quote,
    quote_all,
    quote_mysql,
    split_table,
    to_driver,
)
from aurora_sql.errors import ParameterError, RowNotFound, StaleVersion, UsageError
from aurora_sql.session import Transaction, TransactionalScope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from aurora_sql.session import Executor

ModelT = TypeVar("ModelT")


# No names that parameters get here.
_PLAIN: Final = re.compile(r"(?!p_[0-9]+$)[A-Za-z_][A-Za-z0-9_]*")
_TAKEN: Final = frozenset({"page_limit", "page_offset"})


class Repository(Generic[ModelT]):
    """Rows of one table as models: get, find, list, insert, update, delete.

    ```python
    users = Repository(db, User, table="users", key="id", version="version")
    user = await users.get(7)
    user = await users.update(user.model_copy(update={"full_name": "Ada"}))
    async with db.transaction() as tx:
        await users.on(tx).delete(7)
    ```

    The texts are built once per operation from the model's fields and then run like statements
    of a file: prepared, routed, under the same deadlines. MySQL does not answer a write with a row:
    there ``insert`` and ``update`` are a transaction of the write and a read.

    Args:
        db: What runs the statements: a database, a view, a session or a transaction.
        model: A pydantic model or a dataclass whose fields are the columns.
        table: Table name, ``schema.table`` allowed; as for ``bulk_insert``.
        key: Column that identifies a row.
        version: Column of whole numbers for optimistic locking: an update finds the row only
            with the version that was read, and raises it by one. None for last write wins.
        computed: Columns that the database alone fills in (generated ones, those of a trigger):
            read, never written.

    Raises:
        ParameterError: The model has no field for one of these columns, or it is no model.
    """

    def __init__(
        self,
        db: Executor,
        model: type[ModelT],
        *,
        table: str,
        key: str = "id",
        version: str | None = None,
        computed: Sequence[str] = (),
    ) -> None:
        self._db = db
        self._model = model
        self._table = table
        self._key = key
        self._version = version
        if not is_model(model):
            raise ParameterError(
                f"Repository({table!r}): {model!r} is neither a pydantic model nor a dataclass"
            )
        self._columns = field_names(model)
        self._computed = frozenset(check_columns(computed, "computed") if computed else ())
        self._check([key, *([] if version is None else [version]), *sorted(self._computed)])
        if self._computed & {key, version}:
            raise ParameterError(
                f"Repository({table!r}): key and version are written, they cannot be computed"
            )
        self._written = tuple(name for name in self._columns if name not in self._computed)
        self._texts: dict[tuple[Any, ...], str] = {}

    def on(self, db: Executor) -> Repository[ModelT]:
        """Return the same repository on another executor, such as a transaction."""
        other = copy(self)  # the texts are shared
        other._db = db  # noqa: SLF001 - of the same class
        return other

    async def get(self, key: Any) -> ModelT:
        """Return the row with this key.

        Raises:
            RowNotFound: There is none.
        """
        found = await self.find(key)
        if found is None:
            raise RowNotFound(f"{self._table}: no row with {self._key} = {key!r}")
        return found

    async def find(self, key: Any) -> ModelT | None:
        """Return the row with this key, or None."""
        text = self._text(("find",), self._find_sql)
        return await self._db.fetch_maybe(text, {self._name(self._key): key}, model=self._model)

    async def list(
        self,
        where: Mapping[str, Any] | None = None,
        *,
        order_by: Sequence[str] = (),
        limit: int | None = None,
        offset: int = 0,
    ) -> list[ModelT]:
        """Return the rows whose columns equal the given values, in order of the key by default.

        Args:
            where: Column to value; None stands for NULL.
            order_by: Columns; a leading ``-`` for descending. The key decides between equals,
                so that pages neither overlap nor leave a row out.
            limit: Most rows, 0 or more; None for all.
            offset: Rows to leave out at the start, 0 or more.

        Raises:
            ParameterError: The model has no such column, or a number is negative.
        """
        if isinstance(order_by, str):
            raise ParameterError(
                f"Repository({self._table!r}): order_by is a list of columns, not {order_by!r}"
            )
        if offset < 0 or (limit is not None and limit < 0):
            raise ParameterError(
                f"Repository({self._table!r}): limit and offset are 0 or more, not {limit} and"
                f" {offset}"
            )
        given = {name: to_driver(value) for name, value in (where or {}).items()}
        order = tuple(order_by)
        ordered = [one.removeprefix("-") for one in order]
        self._check([*given, *ordered])
        if self._key not in ordered:
            order += (self._key,)
        nulls = tuple(sorted(name for name, value in given.items() if value is None))
        names = tuple(sorted(set(given) - set(nulls)))
        text = self._text(
            ("list", names, nulls, order, limit is not None),
            lambda: self._list_sql(names, nulls, order, limited=limit is not None),
        )
        params = {self._name(name): given[name] for name in names} | {"page_offset": offset}
        if limit is not None:
            params["page_limit"] = limit
        return await self._db.fetch_all(text, params, model=self._model)

    async def insert(self, row: ModelT | Mapping[str, Any]) -> ModelT:
        """Insert a row and return it as it now stands, with what the database filled in.

        Args:
            row: A model, or a mapping of columns to values. Of a model, what is None is left to
                the database if it is the key, or if it was never set (which a pydantic model
                knows): it gets the column's default.

        Raises:
            ParameterError: A column is unknown, or one that the database computes.
            UniqueViolation: Such a row exists already; other constraints likewise.
        """
        values = self._given(row) if isinstance(row, Mapping) else self._new(row)
        names = tuple(values)
        text = self._text(("insert", names), lambda: self._insert_sql(names))
        params = {self._name(name): value for name, value in values.items()}
        if self._answers:
            return await self._db.fetch_one(text, params, model=self._model)
        async with self._together() as db:
            await db.execute(text, params)
            key = values.get(self._key)
            if key is not None:
                return await self.on(db).get(key)
            made = self._text(("made",), self._made_sql)
            return await db.fetch_one(made, model=self._model)

    async def update(self, row: ModelT) -> ModelT:
        """Write all columns of a row and return it as it now stands.

        Raises:
            StaleVersion: Somebody changed or deleted the row since it was read.
            RowNotFound: There is no such row (without a version column).
        """
        changes = [name for name in self._written if name != self._key]
        if not changes:
            raise ParameterError(f"{self!r}: there is no column besides the key to update")
        values = {name: to_driver(getattr(row, name)) for name in self._written}
        text = self._text(("update",), lambda: self._update_sql(changes))
        params = {self._name(name): value for name, value in values.items()}
        key = values[self._key]
        found: ModelT | None = None
        if self._answers:
            found = await self._db.fetch_maybe(text, params, model=self._model)
        else:
            async with self._together() as db:
                if await db.execute(text, params):
                    found = await self.on(db).find(key)
        if found is not None:
            return found
        if self._version is None:
            raise RowNotFound(f"{self._table}: no row with {self._key} = {key!r}")
        raise StaleVersion(
            f"{self._table}: the row with {self._key} = {key!r} no longer has {self._version} ="
            f" {values[self._version]!r}; read it again and apply the change to what stands there"
        )

    async def delete(self, key: Any, *, version: int | None = None) -> bool:
        """Delete the row with this key.

        Args:
            key: The key.
            version: Delete it only with this version.

        Returns:
            False where there was no such row.

        Raises:
            ParameterError: ``version`` is given, and the repository has no version column.
            StaleVersion: ``version`` is given and the row does not have it, or is gone.
        """
        if version is not None and self._version is None:
            raise ParameterError(f"Repository({self._table!r}) has no version column")
        text = self._text(("delete", version is not None), lambda: self._delete_sql(version))
        params = {self._name(self._key): key}
        if self._version is not None and version is not None:
            params[self._name(self._version)] = version
        deleted = await self._db.execute(text, params) > 0
        if version is not None and not deleted:
            raise StaleVersion(
                f"{self._table}: no row with {self._key} = {key!r} and {self._version} = {version}"
            )
        return deleted

    # -- engines ---------------------------------------------------------------------------

    @property
    def _dialect(self) -> str:
        return self._db._adhoc.dialect  # noqa: SLF001 - the interface has it for this

    @property
    def _answers(self) -> bool:
        """A write can answer with its row."""
        return self._dialect == "postgresql"

    @asynccontextmanager
    async def _together(self) -> AsyncIterator[Executor]:
        """Run what belongs together on one connection, all or nothing."""
        if isinstance(self._db, TransactionalScope):
            async with self._db.transaction() as transaction:
                yield transaction
        elif isinstance(self._db, Transaction):
            yield self._db  # no savepoint: who fails in a transaction fails it, as on PostgreSQL
        else:
            raise UsageError(
                f"Repository({self._table!r}): writing takes a database, a session or a transaction"
            )

    # -- texts -----------------------------------------------------------------------------

    def _text(self, key: tuple[Any, ...], build: Callable[[], str]) -> str:
        key = (self._dialect, *key)
        known = self._texts.get(key)
        if known is None:
            known = self._texts[key] = build()
        return known

    def _check(self, names: Sequence[str]) -> None:
        unknown = [name for name in names if name not in self._columns]
        if unknown:
            raise ParameterError(
                f"Repository({self._table!r}): no column {', '.join(map(repr, unknown))}; there"
                f" are {', '.join(self._columns)}"
            )

    def _given(self, row: Mapping[str, Any]) -> dict[str, Any]:
        self._check(list(row))
        computed = sorted(self._computed.intersection(row))
        if computed:
            raise ParameterError(
                f"Repository({self._table!r}): the database computes {', '.join(computed)}"
            )
        return {name: to_driver(value) for name, value in row.items()}

    def _new(self, row: ModelT) -> dict[str, Any]:
        given = getattr(row, "model_fields_set", self._columns)
        values = {name: to_driver(getattr(row, name)) for name in self._written}
        return {
            name: value
            for name, value in values.items()
            if value is not None or (name != self._key and name in given)
        }

    def _name(self, column: str) -> str:
        # Any field name may be a column, but not every one a parameter: it is not quoted.
        plain = _PLAIN.fullmatch(column) and column not in _TAKEN
        return column if plain else f"p_{self._columns.index(column)}"

    def _find_sql(self) -> str:
        b = _Builder(self._table, self._dialect)
        query = b.query.from_(b.table).select(*self._columns)
        return str(query.where(b.column(self._key) == b.value(self._name(self._key))))

    def _list_sql(
        self, names: Sequence[str], nulls: Sequence[str], order: Sequence[str], *, limited: bool
    ) -> str:
        b = _Builder(self._table, self._dialect)
        query = b.query.from_(b.table).select(*self._columns)
        for name in names:
            query = query.where(b.column(name) == b.value(self._name(name)))
        for name in nulls:
            query = query.where(b.column(name).isnull())
        for one in order:
            query = query.orderby(b.column(one.removeprefix("-")), order=b.order(one))
        # pypika takes numbers only for these two, and MySQL no offset without a limit.
        limit = " LIMIT :page_limit" if limited else b.no_limit
        return f"{query}{limit} OFFSET :page_offset"

    def _insert_sql(self, names: Sequence[str]) -> str:
        b = _Builder(self._table, self._dialect)
        if not names:  # pypika does not know this form
            if not self._answers:
                return f"INSERT INTO {b.table_name} () VALUES ()"
            return f"INSERT INTO {b.table_name} DEFAULT VALUES RETURNING {quote_all(self._columns)}"
        values = (b.value(self._name(name)) for name in names)
        return self._answering(b.query.into(b.table).columns(*names).insert(*values))

    def _made_sql(self) -> str:
        """The row of an INSERT on this connection that left the key to AUTO_INCREMENT."""
        b = _Builder(self._table, self._dialect)
        query = b.query.from_(b.table).select(*self._columns)
        return f"{query} WHERE {quote_mysql(self._key)} = LAST_INSERT_ID()"

    def _answering(self, query: Any) -> str:
        return str(query.returning(*self._columns) if self._answers else query)

    def _update_sql(self, changes: Sequence[str]) -> str:
        b = _Builder(self._table, self._dialect)
        query = b.query.update(b.table)
        for name in changes:
            new = b.column(name) + 1 if name == self._version else b.value(self._name(name))
            query = query.set(b.column(name), new)
        query = query.where(b.column(self._key) == b.value(self._name(self._key)))
        if self._version is not None:
            query = query.where(b.column(self._version) == b.value(self._name(self._version)))
        return self._answering(query)

    def _delete_sql(self, version: int | None) -> str:
        b = _Builder(self._table, self._dialect)
        query = b.query.from_(b.table).delete()
        query = query.where(b.column(self._key) == b.value(self._name(self._key)))
        if version is not None and self._version is not None:
            query = query.where(b.column(self._version) == b.value(self._name(self._version)))
        return str(query)

    def __repr__(self) -> str:
        return f"<Repository {self._table} of {self._model.__name__} by {self._key}>"


class _Builder:
    """pypika, loaded on first use, for one table."""

    def __init__(self, table: str, dialect: str) -> None:
        import pypika  # noqa: PLC0415 - imports of the library stay quick
        from pypika.dialects import MySQLQuery, PostgreSQLQuery  # noqa: PLC0415 - the same

        *schema, name = split_table(table)
        on_mysql = dialect == "mysql"
        self.query: Any = MySQLQuery if on_mysql else PostgreSQLQuery
        self.table_name = ".".join(map(quote_mysql if on_mysql else quote, (*schema, name)))
        self.no_limit = " LIMIT 18446744073709551615" if on_mysql else ""
        self.table = pypika.Table(name, schema=schema[0] if schema else None)
        self._field = pypika.Field
        self._order = pypika.Order
        self._parameter = pypika.NamedParameter

    def column(self, name: str) -> Any:
        return self._field(name, table=self.table)

    def value(self, name: str) -> Any:
        return self._parameter(name)

    def order(self, name: str) -> Any:
        return self._order.desc if name.startswith("-") else self._order.asc
