"""A table as a collection of models, for the statements that are the same everywhere.

Anything beyond one row by its key belongs in a SQL file, where it can be read and reviewed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

from aurora_sql.bulk import find_columns, values_of
from aurora_sql.errors import ParameterError, RowNotFound, StaleVersion

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from aurora_sql.session import Executor

ModelT = TypeVar("ModelT")


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
    of a file: prepared, routed, under the same deadlines.

    Args:
        db: What runs the statements: a database, a view, a session or a transaction.
        model: A pydantic model or a dataclass whose fields are the columns.
        table: Table name, ``schema.table`` allowed.
        key: Column that identifies a row.
        version: Column of whole numbers for optimistic locking: an update finds the row only
            with the version that was read, and raises it by one. None for last write wins.

    Raises:
        ParameterError: The model has no field for ``key`` or ``version``.
    """

    def __init__(
        self,
        db: Executor,
        model: type[ModelT],
        *,
        table: str,
        key: str = "id",
        version: str | None = None,
    ) -> None:
        self._db = db
        self._model = model
        self._table = table
        self._key = key
        self._version = version
        self._columns = find_columns(model, f"Repository({table!r})")
        for role, column in (("key", key), ("version", version)):
            if column is not None and column not in self._columns:
                raise ParameterError(
                    f"Repository({table!r}): {model.__name__} has no field for the {role} column"
                    f" {column!r}"
                )
        self._texts: dict[tuple[Any, ...], str] = {}

    def on(self, db: Executor) -> Repository[ModelT]:
        """Return the same repository on another executor, such as a transaction."""
        other = Repository(db, self._model, table=self._table, key=self._key, version=self._version)
        other._texts = self._texts
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
        return await self._db.fetch_maybe(text, {self._key: key}, model=self._model)

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
            order_by: Columns; a leading ``-`` for descending.
            limit: Most rows; None for all.
            offset: Rows to leave out at the start.

        Raises:
            ParameterError: The model has no such column.
        """
        given = dict(where or {})
        order = tuple(order_by) or (self._key,)
        self._check([*given, *(one.removeprefix("-") for one in order)])
        nulls = tuple(sorted(name for name, value in given.items() if value is None))
        names = tuple(sorted(set(given) - set(nulls)))
        text = self._text(
            ("list", names, nulls, order, limit is not None),
            lambda: self._list_sql(names, nulls, order, limited=limit is not None),
        )
        params = {f"w_{name}": given[name] for name in names} | {"page_offset": offset}
        if limit is not None:
            params["page_limit"] = limit
        return await self._db.fetch_all(text, params, model=self._model)

    async def insert(self, row: ModelT | Mapping[str, Any]) -> ModelT:
        """Insert a row and return it as it now stands, with what the database filled in.

        Args:
            row: A model, whose key is left to the database where it is None; or a mapping of
                columns to values.

        Raises:
            UniqueViolation: Such a row exists already; other constraints likewise.
        """
        values = self._values(row)
        if values.get(self._key, ...) is None:
            del values[self._key]
        names = tuple(values)
        text = self._text(("insert", names), lambda: self._insert_sql(names))
        return await self._db.fetch_one(text, values, model=self._model)

    async def update(self, row: ModelT) -> ModelT:
        """Write all columns of a row and return it as it now stands.

        Raises:
            StaleVersion: Somebody changed or deleted the row since it was read.
            RowNotFound: There is no such row (without a version column).
        """
        values = self._values(row)
        text = self._text(("update",), self._update_sql)
        found = await self._db.fetch_maybe(text, values, model=self._model)
        if found is not None:
            return found
        key = values[self._key]
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
        params = {self._key: key}
        if self._version is not None and version is not None:
            params[self._version] = version
        deleted = await self._db.execute(text, params) > 0
        if version is not None and not deleted:
            raise StaleVersion(
                f"{self._table}: no row with {self._key} = {key!r} and {self._version} = {version}"
            )
        return deleted

    # -- texts -----------------------------------------------------------------------------

    def _text(self, key: tuple[Any, ...], build: Callable[[], str]) -> str:
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

    def _values(self, row: ModelT | Mapping[str, Any]) -> dict[str, Any]:
        values = values_of(row, self._columns)
        self._check(list(values))
        return values

    def _find_sql(self) -> str:
        b = _Builder(self._table)
        query = b.query.from_(b.table).select(*self._columns)
        return str(query.where(b.column(self._key) == b.value(self._key)))

    def _list_sql(
        self, names: Sequence[str], nulls: Sequence[str], order: Sequence[str], *, limited: bool
    ) -> str:
        b = _Builder(self._table)
        query = b.query.from_(b.table).select(*self._columns)
        for name in names:
            query = query.where(b.column(name) == b.value(f"w_{name}"))
        for name in nulls:
            query = query.where(b.column(name).isnull())
        for one in order:
            query = query.orderby(b.column(one.removeprefix("-")), order=b.order(one))
        # pypika takes numbers only for these two.
        return f"{query}{' LIMIT :page_limit' if limited else ''} OFFSET :page_offset"

    def _insert_sql(self, names: Sequence[str]) -> str:
        b = _Builder(self._table)
        if not names:
            returned = ", ".join(f'"{name}"' for name in self._columns)
            return f"INSERT INTO {b.table} DEFAULT VALUES RETURNING {returned}"
        query = b.query.into(b.table).columns(*names).insert(*(b.value(name) for name in names))
        return str(query.returning(*self._columns))

    def _update_sql(self) -> str:
        b = _Builder(self._table)
        query = b.query.update(b.table)
        for name in self._columns:
            if name == self._version:
                query = query.set(b.column(name), b.column(name) + 1)
            elif name != self._key:
                query = query.set(b.column(name), b.value(name))
        query = query.where(b.column(self._key) == b.value(self._key))
        if self._version is not None:
            query = query.where(b.column(self._version) == b.value(self._version))
        return str(query.returning(*self._columns))

    def _delete_sql(self, version: int | None) -> str:
        b = _Builder(self._table)
        query = b.query.from_(b.table).delete().where(b.column(self._key) == b.value(self._key))
        if version is not None and self._version is not None:
            query = query.where(b.column(self._version) == b.value(self._version))
        return str(query)

    def __repr__(self) -> str:
        return f"<Repository {self._table} of {self._model.__name__} by {self._key}>"


class _Builder:
    """pypika, loaded on first use, for one table."""

    def __init__(self, table: str) -> None:
        import pypika  # noqa: PLC0415 - imports of the library stay quick
        from pypika.dialects import PostgreSQLQuery  # noqa: PLC0415 - the same

        schema, dot, name = table.rpartition(".")
        self.query: Any = PostgreSQLQuery
        self.table = pypika.Table(name, schema=schema if dot else None)
        self._field = pypika.Field
        self._order = pypika.Order
        self._parameter = pypika.NamedParameter

    def column(self, name: str) -> Any:
        return self._field(name, table=self.table)

    def value(self, name: str) -> Any:
        return self._parameter(name)

    def order(self, name: str) -> Any:
        return self._order.desc if name.startswith("-") else self._order.asc
