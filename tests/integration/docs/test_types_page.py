"""The table of types says what the server's values really arrive as."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

from aurora_sql import Aurora

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "types.md"


def rows():
    section = PAGE.read_text("utf-8").partition("## Values from PostgreSQL")[2].partition("## ")[0]
    found = re.findall(r"^\|[^|]+\| `([^|]+)` \| `([^|]+)` \|$", section, re.MULTILINE)
    assert len(found) == section.count("\n|") - 2, "a row of the table is not understood"
    return found


def named(name):
    module, dot, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module if dot else "builtins"), attribute)


async def test_values_arrive_as_the_table_says(shop_settings):
    wrong = []
    async with Aurora(shop_settings.replace({"read_endpoint": None})) as db:
        for expression, name in rows():
            value = await db.fetch_value(f"SELECT {expression}")
            expected = named(name)
            # A bool is an int and a datetime a date: only one of its own module may be a subclass.
            if type(value) is not expected and (
                not isinstance(value, expected) or type(value).__module__ == "builtins"
            ):
                wrong.append((expression, name, type(value)))
    assert wrong == []


async def test_texts_are_not_guessed_from(shop_settings):
    async with Aurora(shop_settings.replace({"read_endpoint": None})) as db:
        await db.execute("CREATE TYPE mood AS ENUM ('low', 'high')")
        assert await db.fetch_value("SELECT 'low'::mood") == "low"
        assert await db.fetch_value("SELECT :value::numeric", {"value": 5}) == 5
        assert await db.fetch_value("SELECT :value::int[]", {"value": (1, 2)}) == [1, 2]
        assert await db.fetch_value("SELECT :value::jsonb", {"value": '"x"'}) == '"x"'
