"""Where an export is written: a file that appears when it is whole, or an object with ``write``.

Writing goes on in a thread, one piece at a time: a slow disk keeps nobody else waiting.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Self, TypeAlias

from aurora_sql.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_HELD: Final = 1 << 18
"""Bytes that are written together: few enough to be held by many, enough for a trip to a thread."""


_NAME: Final = 60
"""Characters of a file's name in that of the file beside it: names have 255 bytes."""


class BinaryWriter(Protocol):
    """An open binary file, or what can be written to like one."""

    def write(self, data: bytes, /) -> object:
        """Write bytes; where it returns a number, so many of them."""


CsvTarget: TypeAlias = "str | os.PathLike[str] | BinaryWriter"


class Target:
    """What an export is written to: ``async with target: await target.write(data)``.

    Leaving the block without an error writes what is held; with one, nothing more is written.
    Either way nothing is under way any more after it.

    Args:
        write: Writes bytes; called in a thread.
    """

    def __init__(self, write: Callable[[bytes], object] | None = None) -> None:
        self._write = write
        self._held: list[bytes] = []
        self._size = 0
        self._running: asyncio.Task[Any] | None = None

    async def write(self, data: bytes) -> None:
        """Take the next bytes, and write what has gathered where it is worth it."""
        self._held.append(data)
        self._size += len(data)
        if self._size >= _HELD:
            await self._flush()

    async def _flush(self) -> None:
        data, self._held, self._size = b"".join(self._held), [], 0
        if data:
            await self._in_thread(self._write_all, data)

    async def _in_thread(self, function: Callable[..., Any], *args: Any) -> Any:
        # A thread cannot be cancelled: whoever is has to know that it still writes.
        self._running = asyncio.ensure_future(asyncio.to_thread(function, *args))
        return await asyncio.shield(self._running)

    def _write_all(self, data: bytes) -> None:
        write = self._write
        if write is None:
            raise UsageError("the target is not open")
        left = memoryview(data)
        while left:
            written = write(bytes(left) if len(left) < len(data) else data)
            # Files without a buffer may take less than all of it.
            if not isinstance(written, int) or written >= len(left):
                break
            left = left[written:]

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            try:
                await self._flush()
                await self._finish()
            except BaseException:
                await self._give_up()
                raise
        else:
            await self._give_up()

    async def _give_up(self) -> None:
        # In a task: cancelled once more, the caller leaves, and this is seen through.
        await asyncio.shield(asyncio.ensure_future(self._settle()))

    async def _settle(self) -> None:
        if self._running is not None:
            await asyncio.wait((self._running,))
            self._running.exception()  # the error that ends the export is the one to tell
        await asyncio.to_thread(self._discard)

    async def _finish(self) -> None:
        """All is written."""

    def _discard(self) -> None:
        """Nothing is to be left; called in a thread."""


class FileTarget(Target):
    """A file beside the one that is meant, which takes its place at the end.

    Args:
        path: The one that is meant; where it is a link, what it leads to.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._part = path
        self._file: io.BufferedWriter | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._in_thread(self._open)
        except BaseException:
            await self._give_up()
            raise
        return self

    def _open(self) -> None:
        self._path = path = self._path.resolve()
        mode = None
        with suppress(FileNotFoundError):
            mode = path.stat().st_mode
        if mode is not None and stat.S_ISDIR(mode):
            raise IsADirectoryError(f"{path} is a folder; an export is written to a file")
        if mode is not None and not stat.S_ISREG(mode):
            raise UsageError(
                f"{path} is no ordinary file, which a whole one could replace; pass it opened:"
                " open(…, 'wb')"
            )
        part = path.with_name(f".{path.name[:_NAME]}.{secrets.token_hex(8)}.part")
        try:
            self._file = part.open("xb")
        except OSError as error:
            # Nobody has heard of the file beside it.
            what = f"{error.strerror} (the file of an export is made beside it first)"
            raise type(error)(error.errno, what, str(path)) from None
        self._part, self._write = part, self._file.write
        if mode is not None:
            part.chmod(stat.S_IMODE(mode))

    async def _finish(self) -> None:
        await self._in_thread(self._close)

    def _close(self) -> None:
        if self._file is None:
            return
        self._file.flush()
        # Without it a machine that loses power may keep the new name and lose what is in the file.
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)

    def _discard(self) -> None:
        if self._file is None:
            return
        with suppress(OSError):  # a full disk has no room for what is in the buffer either
            self._file.close()
        self._part.unlink(missing_ok=True)


def target_of(target: Any, what: str) -> Target:
    """Return what an export writes to.

    Args:
        target: A path, or a binary file-like object.
        what: Names the operation in messages.

    Raises:
        UsageError: It is neither.
    """
    if isinstance(target, str | os.PathLike):
        path = os.fspath(target)
        if isinstance(path, str):
            return FileTarget(Path(path))
    write = getattr(target, "write", None)
    if isinstance(target, io.TextIOBase):
        raise UsageError(f"{what}: the target takes text, and bytes are written: open it with 'wb'")
    if not callable(write) or isinstance(target, type):
        raise UsageError(
            f"{what}: the target is a path or a binary file with write(bytes), not"
            f" {type(target).__name__}"
        )
    if inspect.iscoroutinefunction(write):
        raise UsageError(
            f"{what}: the target's write() is a coroutine; pass one that writes: it is called in a"
            " thread"
        )
    return Target(write)
