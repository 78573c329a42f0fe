"""``db.sql``: the statements of a registry as attributes, bound to whatever runs them."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Protocol

from aurora_sql.errors import UsageError
from aurora_sql.execution._export import export_csv, fetch_arrow
from aurora_sql.types import Access, Cardinality

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Callable,
        Coroutine,
        Iterable,
        Iterator,
        Mapping,
        Sequence,
    )
    from pathlib import Path

    import pyarrow as pa

    from aurora_sql.execution._explanation import Explanation
    from aurora_sql.execution._flow import Flow
    from aurora_sql.execution._stream import RowStream
    from aurora_sql.export import CsvTarget
    from aurora_sql.statements import Statement, StatementRegistry

Node = "dict[str, Statement | Node]"


class Runner(Protocol):
    """What runs statements: on pools, or on the connection of a transaction."""

    def run(self, statement: Statement, params: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        """Run a statement and return what its cardinality promises."""

    def run_cached(self, statement: Statement, params: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        """Run a read whose answer may have been kept."""

    def run_invalidating(
        self, statement: Statement, params: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """Run a write that puts kept answers out of date."""

    def run_together(
        self, statement: Statement, params: dict[str, Any]
    ) -> Coroutine[Any, Any, Any]:
        """Run a statement with others that wait at the same moment."""

    def run_each(
        self, statement: Statement, sets: Sequence[Mapping[str, Any]]
    ) -> Coroutine[Any, Any, list[Any]]:
        """Run a read that may travel with others once for each set of parameters."""

    def run_once(self, statement: Statement, params: dict[str, Any]) -> Coroutine[Any, Any, Any]:
        """Run a write exactly once, also where its COMMIT is not answered."""

    def run_batch(
        self, statement: Statement, sets: Iterable[Mapping[str, Any]]
    ) -> Coroutine[Any, Any, None]:
        """Run a statement once for each set of parameters, all or nothing."""

    def run_script(self, statement: Statement) -> Coroutine[Any, Any, None]:
        """Run several statements without parameters."""

    def explain(
        self, statement: Statement, params: dict[str, Any], *, analyze: bool
    ) -> Coroutine[Any, Any, Explanation]:
        """Ask the server for its plan of a statement, and run nothing."""

    def stream(self, statement: Statement, params: dict[str, Any], batch: int) -> RowStream[Any]:
        """Return the rows of a statement through a server-side cursor."""

    def pieces(
        self, statement: Statement, params: dict[str, Any], flow: Flow
    ) -> AsyncGenerator[Any, None]:
        """Return what a statement gives, piece by piece."""


class BoundStatement:
    """A statement, ready to be called: ``await db.sql.users.get(id=1)``."""

    __slots__ = ("_run", "_runner", "statement")

    def __init__(self, runner: Runner, statement: Statement) -> None:
        self._runner = runner
        self._run = runner.run
        self.statement = statement

    @property
    def __doc__(self) -> str:  # type: ignore[override]  # per instance: the statement's own text
        return self.statement.doc

    def __call__(self, /, **params: Any) -> Coroutine[Any, Any, Any]:
        """Run the statement.

        Raises:
            ParameterError: A parameter is missing, unknown or of the wrong kind; nothing was sent.
            AuroraError: See :mod:`aurora_sql.errors`.
        """
        return self._run(self.statement, params)

    def each(self, sets: Iterable[Mapping[str, Any]], /) -> Coroutine[Any, Any, list[Any]]:
        """Call a read for each set of parameters, and return the answers in the order of the sets.

        The calls travel together, and with those of others: twenty rows by their keys are one
        round trip and one execution. Inside a transaction, in ``db.session()`` and where somebody
        observes statements the calls are made as such, with the same answers.

        Args:
            sets: The parameters of each call.

        Raises:
            UsageError: The statement writes (a ``:batch`` does that), or is not marked
                ``coalesce: on``.
            ParameterError: A set does not fit; a note says which. Nothing was sent.
            AuroraError: What the first call failed with, with such a note.
        """
        statement = self.statement
        if statement.access is not Access.READ:
            raise UsageError(f"{statement.where}: each() is for reads; make it a :batch")
        if not statement.coalesce:
            raise UsageError(
                f"{statement.where}: each() is for statements whose calls travel together; add the"
                " directive -- coalesce: on"
            )
        return self._runner.run_each(statement, list(sets))

    def stream(self, /, *, batch_size: int = 500, **params: Any) -> RowStream[Any]:
        """Return the rows one by one from a server-side cursor, in bounded memory.

        Args:
            batch_size: Rows fetched per round trip.
            params: The statement's parameters.
        """
        return self._runner.stream(self.statement, params, batch_size)

    def explain(
        self, /, *, analyze: bool = False, **params: Any
    ) -> Coroutine[Any, Any, Explanation]:
        """Return what runs for these parameters, and the server's plan of it; nothing is run.

        The server is asked where the statement would run: on a reader for ``role: reader``, on the
        transaction's connection in a transaction. A statement whose calls travel together shows
        the text for many callers too. A ``:batch`` is explained for one set.

        Args:
            analyze: Run the statement, and tell how long each step took. For reads only.
            params: The statement's parameters.

        Raises:
            UsageError: It is a :script, or has no plan, or ``analyze`` would write.
            StatementFileError: It is marked ``coalesce: on``, and its calls cannot travel together.
            ParameterError: As for a call.
            AuroraError: What the server says; in a transaction it counts as any other error there.
        """
        return self._runner.explain(self.statement, params, analyze=analyze)

    def fetch_arrow(self, /, **params: Any) -> Coroutine[Any, Any, pa.Table]:
        """Return the rows as an Arrow table: see ``Executor.fetch_arrow``.

        Args:
            params: The statement's parameters.

        Raises:
            UsageError: The statement writes, or has no rows; nothing was sent.
            AuroraError: As ``Executor.fetch_arrow``.
        """
        return fetch_arrow(self._runner, self.statement, params)

    def export_csv(
        self, target: CsvTarget, /, *, header: bool = True, **params: Any
    ) -> Coroutine[Any, Any, int]:
        """Write the rows as CSV, and return how many there were: see ``Executor.export_csv``.

        Args:
            target: A path, or a binary file.
            header: Begin with a line that has the names of the columns.
            params: The statement's parameters.

        Raises:
            UsageError: The statement writes, or has no rows; nothing was sent.
            AuroraError: As ``Executor.export_csv``.
        """
        return export_csv(self._runner, self.statement, params, target, header=header)

    def __repr__(self) -> str:
        return f"<BoundStatement {self.statement.name}({', '.join(self.statement.parameters)})>"


class BoundOnce(BoundStatement):
    """A statement with ``retry: exactly_once``."""

    __slots__ = ()

    def __init__(self, runner: Runner, statement: Statement) -> None:
        super().__init__(runner, statement)
        self._run = runner.run_once


class BoundCached(BoundStatement):
    """A statement with ``cache:``."""

    __slots__ = ()

    def __init__(self, runner: Runner, statement: Statement) -> None:
        super().__init__(runner, statement)
        self._run = runner.run_cached


class BoundInvalidating(BoundStatement):
    """A statement with ``invalidates:``."""

    __slots__ = ()

    def __init__(self, runner: Runner, statement: Statement) -> None:
        super().__init__(runner, statement)
        self._run = runner.run_invalidating


class BoundTogether(BoundStatement):
    """A statement with ``coalesce: on``."""

    __slots__ = ()

    def __init__(self, runner: Runner, statement: Statement) -> None:
        super().__init__(runner, statement)
        self._run = runner.run_together


class BoundBatch(BoundStatement):
    """A ``:batch`` statement: ``await db.sql.users.add_all([{...}, {...}])``."""

    __slots__ = ()

    def __call__(  # type: ignore[override]  # a batch takes its sets as one argument
        self, sets: Iterable[Mapping[str, Any]], /
    ) -> Coroutine[Any, Any, None]:
        """Run the statement once for each set, pipelined, all or nothing."""
        return self._runner.run_batch(self.statement, sets)


class BoundScript(BoundStatement):
    """A ``:script``: ``await db.sql.maintenance.refresh()``."""

    __slots__ = ()

    def __call__(self) -> Coroutine[Any, Any, None]:  # type: ignore[override]  # no parameters
        """Run the statements of the script, in one implicit transaction."""
        return self._runner.run_script(self.statement)


_SEVERAL = {Cardinality.BATCH: BoundBatch, Cardinality.SCRIPT: BoundScript}


def _bound_class(statement: Statement) -> type[BoundStatement]:
    several = _SEVERAL.get(statement.cardinality)
    if several is not None:
        return several
    if statement.invalidates:
        return BoundInvalidating
    if statement.cache is not None:
        return BoundCached
    if statement.coalesce:
        return BoundTogether
    return BoundOnce if statement.retry == "exactly_once" else BoundStatement


class StatementTree:
    """The names of a registry as a tree; built once, and again after a reload.

    Args:
        registry: The statements; None where there is ad hoc SQL only.

    Attributes:
        reload: Names may change, so that nothing is kept.
        path: The folder, for messages.
    """

    def __init__(self, registry: StatementRegistry | None) -> None:
        self._registry = registry
        self.reload = registry is not None and registry.reload
        self.path = None if registry is None else registry.path
        self._root: dict[str, Any] = {}
        self._generation = -1
        self._levels: Callable[[Runner], SqlNamespace] | None = None

    def bind(self, runner: Runner) -> SqlNamespace:
        """Return the names, bound to what runs the statements."""
        if self.reload:
            return SqlNamespace(runner, self, ())
        if self._levels is None:
            self._levels = _level(self, (), self.root)
        return self._levels(runner)

    @property
    def root(self) -> dict[str, Any]:
        """Name to statement or to the next level."""
        registry = self._registry
        if registry is None:
            return self._root
        if self.reload:
            registry.refresh(force=False)
        if registry.generation != self._generation:
            root: dict[str, Any] = {}
            for name, statement in registry.items():
                *folders, leaf = name.split(".")
                level = root
                for folder in folders:
                    level = level.setdefault(folder, {})
                level[leaf] = statement
            self._root, self._generation = root, registry.generation
        return self._root

    def level(self, prefix: tuple[str, ...]) -> dict[str, Any]:
        """One level of the tree; empty where a reload has removed it."""
        level = self.root
        for name in prefix:
            found = level.get(name)
            # It may also have become a statement.
            level = found if type(found) is dict else {}
        return level


class SqlNamespace:
    """A level of ``db.sql``, looked up anew for each attribute; ``_level`` makes quicker ones."""

    __slots__ = ("__dict__", "_prefix", "_runner", "_tree")

    def __init__(
        self,
        runner: Runner,
        tree: StatementTree,
        prefix: tuple[str, ...],
    ) -> None:
        self._runner = runner
        self._tree = tree
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        tree = self._tree
        names = tree.level(self._prefix)
        found = names.get(name)
        if found is None:
            raise AttributeError(_unknown(name, self._prefix, names, tree.path))
        if type(found) is dict:
            return SqlNamespace(self._runner, tree, (*self._prefix, name))
        return _bound_class(found)(self._runner, found)

    def __getitem__(self, name: str) -> Any:
        """Return a statement by its full name: ``db.sql["users.get"]``."""
        found: Any = self
        for part in name.split("."):
            found = getattr(found, part)
        return found

    def __dir__(self) -> list[str]:
        return sorted(self._tree.level(self._prefix))

    def __iter__(self) -> Iterator[str]:
        return iter(self._tree.level(self._prefix))

    def __repr__(self) -> str:
        path = ".".join(("sql", *self._prefix))
        return f"<{path}: {', '.join(self._tree.level(self._prefix)) or 'empty'}>"


class _Name:
    """What a namespace knows under one name, bound when it is first asked for, then kept.

    A transaction has namespaces of its own: without this, each first look at a name would go
    through a failed look-up and ``__getattr__``, which takes longer than all else of the call.
    """

    __slots__ = ("_bind", "_name", "_what")

    def __init__(self, name: str, bind: Callable[..., Any], what: object) -> None:
        self._name = name
        self._bind = bind
        self._what = what

    def __get__(self, namespace: SqlNamespace, owner: type) -> Any:
        made = self._bind(namespace._runner, self._what)  # noqa: SLF001 - part of the namespace
        # From now on the attribute is an ordinary one: found without this method.
        namespace.__dict__[self._name] = made
        return made


def _level(
    tree: StatementTree, prefix: tuple[str, ...], names: dict[str, Any]
) -> Callable[[Runner], SqlNamespace]:
    """Make the class of one level of names that do not change."""

    def bind(self: SqlNamespace, runner: Runner, _: None = None) -> None:
        self._runner = runner

    members: dict[str, Any] = {}
    for name, found in names.items():
        if type(found) is dict:
            members[name] = _Name(name, _level(tree, (*prefix, name), found), None)
        else:
            members[name] = _Name(name, _bound_class(found), found)
    own = {"__slots__": (), "__init__": bind, "_tree": tree, "_prefix": prefix}
    return type("SqlNamespace", (SqlNamespace,), members | own)


def _unknown(
    name: str, prefix: tuple[str, ...], names: Mapping[str, Any], path: Path | None
) -> str:
    full = ".".join((*prefix, name))
    close = get_close_matches(name, names, n=3)
    if close:
        offer = "did you mean " + " or ".join(".".join((*prefix, one)) for one in close) + "?"
    else:
        offer = f"there are: {', '.join(sorted(names)) or 'none'}"
    if path is None:
        return f"no statement {full!r}: Aurora was opened without sql="
    place = f" under {path}"
    return f"no statement or namespace {full!r}{place}; {offer}"
