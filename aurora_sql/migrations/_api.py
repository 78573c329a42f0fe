"""The functions that users call: yoyo runs in a thread, and ends when its caller is cancelled."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from aurora_sql.errors import ConfigurationError
from aurora_sql.settings import format_address
from aurora_sql.types import Engine

from ._files import read_engine, read_folder, require_statements, yoyo_migrations
from ._types import MigrationState, Unfinished

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aurora_sql.settings import AuroraSettings

    from ._run import Runner, Stop
    from ._types import AppliedMigration, MigrationStatus

    Progress = Callable[[AppliedMigration], None]

LOCK_TIMEOUT = 10.0

T = TypeVar("T")


async def status(settings: AuroraSettings, folder: str | Path) -> tuple[MigrationStatus, ...]:
    """Say which migrations are applied and which are pending. Changes nothing.

    Args:
        settings: Where the writer is.
        folder: The folder of migrations.

    Returns:
        In the order in which they apply; then those whose file is gone.

    Raises:
        ConfigurationError: The folder or a file is wrong.
        ConnectionFailed: The writer cannot be reached.
    """
    return await _in_thread(settings, folder, LOCK_TIMEOUT, lambda runner: runner.status())


async def apply(
    settings: AuroraSettings,
    folder: str | Path,
    *,
    to: str | None = None,
    progress: Progress | None = None,
    lock_timeout: float = LOCK_TIMEOUT,
    unfinished: Unfinished | str | None = None,
) -> tuple[AppliedMigration, ...]:
    """Apply what is pending, on the writer, one run at a time.

    A SQL migration and the note that it was applied are one transaction, unless the file says
    ``-- transactional: false``. On MySQL that holds for those that only read and write rows: DDL
    commits at once there, and one that fails half way is marked as unfinished. Cancelling the
    caller cancels the statement under way.

    Args:
        settings: Where the writer is.
        folder: The folder of migrations.
        to: The last one to apply: its id, or how only its id begins. Default all.
        progress: Called after each, in the thread that runs them.
        lock_timeout: Seconds to wait for another run, and for each lock of a table.
        unfinished: What to do about one that stopped half way, on MySQL, which cannot take DDL
            back: ``continue`` with the statement that failed, or ``restart`` it. Default: refuse.

    Returns:
        What was applied, in order.

    Raises:
        ConfigurationError: The folder or a file is wrong, or ``ensure_created`` made the database.
        ConnectionFailed: The writer cannot be reached.
        ReadOnlyInstance: The write endpoint leads to a reader.
        LockTimeout: Another run, or a lock on a table, took too long.
        DatabaseError: A migration failed; its message names file and line.
    """
    choice = _choice(unfinished)
    return await _in_thread(
        settings, folder, lock_timeout, lambda runner: runner.apply(to, progress, choice)
    )


async def rollback(
    settings: AuroraSettings,
    folder: str | Path,
    ids: Sequence[str],
    *,
    progress: Progress | None = None,
    lock_timeout: float = LOCK_TIMEOUT,
    unfinished: Unfinished | str | None = None,
) -> tuple[AppliedMigration, ...]:
    """Roll applied migrations back, the newest first.

    Args:
        settings: Where the writer is.
        folder: The folder of migrations.
        ids: What to roll back, the newest first; they must be the newest that are applied.
            :func:`latest` gives them.
        progress: Called after each, in the thread that runs them.
        lock_timeout: Seconds to wait for another run, and for each lock of a table.
        unfinished: What to do about one that stopped half way, on MySQL, which cannot take DDL
            back: ``continue`` with the statement that failed, or ``restart`` it. Default: refuse.

    Returns:
        What was rolled back, in order.

    Raises:
        ConfigurationError: One is not the newest any more, or has no rollback file.
        AuroraError: As for :func:`apply`.
    """
    choice = _choice(unfinished)
    return await _in_thread(
        settings, folder, lock_timeout, lambda runner: runner.rollback(ids, progress, choice)
    )


async def latest(
    settings: AuroraSettings, folder: str | Path, count: int = 1
) -> tuple[MigrationStatus, ...]:
    """Return the last ``count`` applied migrations, the newest first. Changes nothing.

    Raises:
        ConfigurationError: The file of an applied one is gone.
        ConnectionFailed: The writer cannot be reached.
    """
    from ._run import newest  # noqa: PLC0415 - loads yoyo

    if count < 1:
        raise ConfigurationError(f"The number of migrations must be at least 1, not {count}")
    return tuple(newest(await status(settings, folder), count))


async def script(
    settings: AuroraSettings | None,
    folder: str | Path,
    *,
    to: str | None = None,
    engine: Engine | str = Engine.POSTGRESQL,
) -> str:
    """Write the SQL that :func:`apply` would run. Changes nothing.

    The script also notes in yoyo's tables what it applied, so that ``apply`` can go on after it.

    Args:
        settings: Where the writer is, to be asked what is applied; None connects to nothing and
            writes all migrations, as for an empty database.
        folder: The folder of migrations.
        to: The last one to write: its id, or how only its id begins. Default all.
        engine: Whose SQL to write where ``settings`` is None.

    Raises:
        ConfigurationError: The folder or a file is wrong.
        ConnectionFailed: The writer cannot be reached.
    """
    files = {one.id: one for one in read_folder(folder)}
    from ._run import statuses, up_to  # noqa: PLC0415 - loads yoyo
    from ._script import write_script  # noqa: PLC0415 - the same

    if settings is None:
        engine = read_engine(engine)
        known = statuses(tuple(files.values()), {})
        where = f"{folder}, for an empty database"
    else:
        engine = settings.engine
        known = await status(settings, folder)
        unsure = [one.id for one in known if one.state is MigrationState.UNFINISHED]
        if unsure:
            raise ConfigurationError(
                f"Migration {unsure[0]} stopped half way: no script can go on from there, "
                "`aurora-sql migrate apply` says how to"
            )
        where = f"{settings.database} at {format_address(settings.writer_address())}"
    wanted = [files[one.id] for one in up_to(known, to)]
    if wanted:
        wanted += [one for one in files.values() if one.after_each]
    require_statements(wanted)
    return write_script(wanted, where, engine)


async def ensure_created(settings: AuroraSettings, folder: str | Path) -> bool:
    """Bring an empty database to the newest schema, quickly and without yoyo's books: for tests.

    All migrations run in one transaction where none of them forbids it (never on MySQL, where a
    database that was made half way is refused). Several processes may
    call it at once.

    Args:
        settings: Where the writer is.
        folder: The folder of migrations.

    Returns:
        True if the schema was made now, False if the same migrations had made it before.

    Raises:
        ConfigurationError: Migrations manage the database, it holds something else, or it was
            made from other migrations.
        DatabaseError: A migration failed; its message names file and line.
    """
    return await _in_thread(settings, folder, 60.0, lambda runner: runner.ensure_created())


def _choice(unfinished: Unfinished | str | None) -> Unfinished | None:
    try:
        return None if unfinished is None else Unfinished(unfinished)
    except ValueError:
        raise ConfigurationError(
            f"unfinished must be one of {', '.join(Unfinished)}, not {unfinished!r}"
        ) from None


async def _in_thread(
    settings: AuroraSettings,
    folder: str | Path,
    lock_timeout: float,
    work: Callable[[Runner], T],
) -> T:
    yoyo_migrations(settings.engine)
    from ._run import Runner, Stop  # noqa: PLC0415 - loads yoyo
    from ._server import open_server  # noqa: PLC0415 - the same

    stop = Stop()
    runner = Runner(open_server(settings, lock_timeout), Path(folder), stop)
    task = asyncio.create_task(asyncio.to_thread(work, runner))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await _end(task, stop)
        raise


async def _end(task: asyncio.Task[T], stop: Stop) -> None:
    """Stop the thread and wait for it: nothing runs on after the caller was cancelled."""
    await asyncio.to_thread(stop.stop)
    # Another cancellation must not leave the thread behind either.
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            continue
    if not task.cancelled():
        task.exception()
