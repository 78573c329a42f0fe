"""The page of the drills says where each does not run, and why, as their marks do."""

from __future__ import annotations

import ast
from pathlib import Path

DRILLS = Path(__file__).resolve().parents[2] / "drills"


def marks():
    """Each drill with a mark ``not_on``: its name, the servers and the reason."""
    for path in DRILLS.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for mark in getattr(node, "decorator_list", []):
                if isinstance(mark, ast.Call) and getattr(mark.func, "attr", "") == "not_on":
                    servers = ", ".join(ast.literal_eval(arg) for arg in mark.args)
                    (because,) = (ast.literal_eval(one.value) for one in mark.keywords)
                    yield [node.name, servers, because]


def test_where_a_drill_does_not_run(explanation):
    said = explanation("drills").table("Where a drill does not run")
    assert sorted(said) == sorted(marks())


def test_every_module_is_on_the_page(explanation):
    text = explanation("drills").text
    assert [one.name for one in DRILLS.glob("test_*.py") if f"`{one.name}`" not in text] == []
