"""mypy agrees with the files beside this one, and refuses what is wrong."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each line that ends in ``# E: code`` must be refused with that code, and no other line may be.
WRONG = """
from typing import assert_type

from pydantic import BaseModel

from aurora_sql import Aurora, Executor, Row, Session, Transaction
from aurora_sql.rows import PlainRow, build_maker


class User(BaseModel):
    id: int


class Other(BaseModel):
    id: int


async def models(db: Executor) -> None:
    row: User = await db.fetch_one("SELECT 1")  # E: assignment
    user: Other = await db.fetch_one("SELECT 1", model=User)  # E: arg-type
    users: list[Row] = await db.fetch_all("SELECT 1", model=User)  # E: arg-type
    (await db.fetch_maybe("SELECT 1", model=User)).id  # E: union-attr
    (await db.fetch_one("SELECT 1", model=User)).email  # E: attr-defined
    async for item in db.stream("SELECT 1", model=User):
        item.email  # E: attr-defined
    await db.fetch_one("SELECT 1", model=User(id=1))  # E: call-overload
    await db.fetch_one("SELECT 1", model="shop.models.User")  # E: call-overload
    await db.fetch_all("SELECT 1", {"id": 1}, User)  # E: call-overload
    await db.fetch_all(5)  # E: call-overload
    text: str = await db.execute("SELECT 1")  # E: assignment
    result: int = await db.bulk_insert("users", [(1,)], columns=["id"])  # E: assignment
    await db.bulk_upsert("users", [(1,)])  # E: call-arg


async def work(tx: Transaction, amount: int) -> str:
    return "x"


async def transactions(db: Aurora, session: Session) -> None:
    await db.run_in_transaction(work)  # E: call-arg
    await db.run_in_transaction(work, "five")  # E: arg-type
    number: int = await db.run_in_transaction(work, 5)  # E: arg-type
    db.transaction("serializable")  # E: call-arg
    async with db.transaction() as tx:
        tx.fetch_everything  # E: attr-defined


def rows(row: Row) -> None:
    row[None]  # E: call-overload
    row.a = 1  # E: attr-defined
    PlainRow(["a"])  # E: call-arg
    build_maker([], None)  # E: call-arg
"""


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # Errors in the library itself are reported by the check of the library.
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--follow-imports=silent", "--no-error-summary", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=110,
    )


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_what_is_right_is_accepted() -> None:
    done = run("tests/typing")
    assert done.stdout == ""
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_what_is_wrong_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "wrong.py"
    file.write_text(WRONG)
    expected = {
        number: found[1]
        for number, line in enumerate(WRONG.splitlines(), 1)
        if (found := re.search(r"# E: ([a-z-]+)$", line))
    }
    done = run(str(file))
    reported = {
        int(line): code
        for line, code in re.findall(
            r"wrong\.py:(\d+): error: .*\[([a-z-]+)\]$", done.stdout, re.MULTILINE
        )
    }
    assert len(expected) > 15
    assert reported == expected, done.stdout + done.stderr
