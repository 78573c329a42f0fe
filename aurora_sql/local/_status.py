"""The status table of Aurora's storage."""

from __future__ import annotations

import asyncio
import json
import math
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from aurora_sql.errors import AuroraError
from aurora_sql.types import Role

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from aurora_sql.local._engine import LocalEngine
    from aurora_sql.local._server import Server

STATUS_FILE = "aurora_status.json"
WRITER_SESSION = "MASTER_SESSION_ID"
_REFRESH = 1.0
"""Seconds between two updates, as often as Aurora's instances report."""
_ANSWER = 2.0


class StatusBoard:
    """Keeps the file from which an instance knows the others.

    It plays the table in Aurora's shared storage: every instance can read it, it is about a
    second old, and what an instance that does not answer last said stays in it.
    """

    def __init__(
        self, folder: Path, servers: Callable[[], Sequence[Server]], engine: LocalEngine
    ) -> None:
        self._path = folder / STATUS_FILE
        self._servers = servers
        self._engine = engine
        self._look: Callable[[], object] = lambda: None
        self._rows: list[dict[str, Any]] = []
        self._generation = 0

    def watch(self, look: Callable[[], object]) -> None:
        """Call ``look`` too at each update."""
        self._look = look

    def announce(self) -> None:
        """Write who is there and who is the writer; the figures stay until the next update.

        An instance that becomes or ceases to be the writer gets a session id of its own, as one
        that starts in Aurora.
        """
        before = {row["server_id"]: row for row in self._rows}
        rows = []
        for server in self._servers():
            row = before.get(server.id, {"server_id": server.id})
            if server.role is Role.WRITER:
                row = {**row, "session_id": WRITER_SESSION}
            elif row.get("session_id", WRITER_SESSION) == WRITER_SESSION:
                row = {**row, "session_id": str(uuid4())}
            rows.append(row)
        # What is being asked just now was said by those who were there before.
        self._generation += 1
        self._engine.disconnect()
        self._write(rows)

    async def keep_current(self) -> None:
        """Update it every second until cancelled."""
        try:
            while True:
                await self.refresh()
                for server in self._servers():
                    server.reap()
                self._look()
                await asyncio.sleep(_REFRESH)
        finally:
            self._engine.disconnect()
            # Sockets close in the loop's next turn, and the loop stands still while servers are
            # ended: MySQL would wait ten seconds for the one that is still connected.
            await asyncio.sleep(0)

    async def refresh(self) -> None:
        """Update it once; what the writer does not answer in time stays as it was."""
        generation = self._generation
        asked = datetime.now(UTC)
        try:
            async with asyncio.timeout(_ANSWER):
                rows = await self._engine.status()
        except (AuroraError, TimeoutError):
            self._engine.disconnect()
            return
        if rows is not None and generation == self._generation:
            self._store(rows, asked)

    def _store(self, rows: list[dict[str, Any]], asked: datetime) -> None:
        before = {row["server_id"]: row for row in self._rows}
        rows = [{**before.get(row["server_id"], {}), **row} for row in rows]
        writers = (row for row in rows if row["session_id"] == WRITER_SESSION)
        written = next((row.get("durable_lsn") or math.inf for row in writers), math.inf)
        for row in rows:
            # When a reader last had replayed all there was. Asked for the time from before the
            # question: the writer may have gone on since.
            if (row.get("current_read_lsn") or 0) >= written:
                row["level_at"] = asked.isoformat()
            if row["session_id"] == WRITER_SESSION:
                row["last_update_timestamp"] = datetime.now(UTC).isoformat()
            # What they share is the machine, so that is what is busy.
            row["cpu"] = round(100.0 * os.getloadavg()[0] / (os.cpu_count() or 1), 1)
        self._write(rows)

    def _write(self, rows: list[dict[str, Any]]) -> None:
        self._rows = rows
        new = self._path.with_suffix(".new")
        # Renamed into place: a reader sees the old file or the new one.
        new.write_text(json.dumps(rows), encoding="utf-8")
        new.chmod(0o644)
        new.replace(self._path)
