"""The rest of the reference has every name that the code has, and none besides."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import typer.main

import aurora_sql
from aurora_sql import Cardinality, instrumentation
from aurora_sql.cli._app import Options, build
from aurora_sql.statements._conditions import MAX_VARIANTS
from aurora_sql.statements._directives import _READERS
from aurora_sql.statements._files import _MARKS
from aurora_sql.statements._names import RESERVED_NAMES

ROOT = Path(__file__).resolve().parents[3]


def test_every_public_name_is_in_the_reference(pages):
    text = "\n".join(page.text for page in pages if page.path.parent.name == "reference")
    missing = [
        name
        for name in aurora_sql.__all__
        if name != "__version__" and not re.search(rf"\b{name}\b", text)
    ]
    assert missing == []


def test_public_methods_are_in_the_reference(reference):
    text = reference("api").text
    for owner in ("Aurora", "Session", "Transaction", "Repository", "RowStream"):
        for name in dir(getattr(aurora_sql, owner)):
            if not name.startswith("_"):
                assert re.search(rf"\b{name}\b", text), f"{owner}.{name}"


def test_cardinalities(reference):
    rows = reference("sql-files").table("Cardinalities")
    assert [row[0] for row in rows] == [f":{one.value}" for one in Cardinality]


def test_directives(reference):
    rows = reference("sql-files").table("Directives")
    named = {row[0].partition(":")[0] for row in rows}
    assert named == set(_READERS)


def test_marks_of_aiosql(reference):
    rows = reference("sql-files").table("Files of aiosql")
    assert {row[0]: row[1] for row in rows} == {
        mark or "(none)": f":{cardinality.value}" for mark, cardinality in _MARKS.items()
    }


def test_numbers_and_names_of_the_format(reference):
    text = reference("sql-files").text
    assert f"at most {MAX_VARIANTS}" in text
    for name in RESERVED_NAMES:
        assert f"`{name}`" in text


def test_events(reference):
    page = reference("events")
    for name in ("StatementFinished", "RetryScheduled", "CommitAbandoned"):
        fields = [field.name for field in dataclasses.fields(getattr(instrumentation, name))]
        assert [row[0] for row in page.table(name)] == fields


def commands():
    """Each command of the program with its options, as ``migrate apply`` → {"--to", …}."""
    root = typer.main.get_command(build(Options()))
    found = {}

    def walk(command, path):
        if hasattr(command, "commands"):
            for name, inner in command.commands.items():
                walk(inner, (*path, name))
            return
        options = {
            text
            for parameter in command.params
            for text in (*parameter.opts, *parameter.secondary_opts)
            if text.startswith("--") and text != "--help"
        }
        found[" ".join(path)] = options

    walk(root, ())
    return found


def test_commands_and_options(reference):
    page = reference("cli")
    there = commands()
    headings = set(re.findall(r"^### aurora-sql (.+)$", page.text, re.MULTILINE))
    assert headings == set(there)
    for command, options in there.items():
        if command == "bench":  # its options are those of the suite
            continue
        section = page.section(f"aurora-sql {command}")
        said = set(re.findall(r"(--[a-z][a-z-]*)", section))
        if command.startswith("migrate ") and command != "migrate new":
            # These are in one place for all of them.
            said |= {"--settings", "--section", "--url"}
            shared = page.section("Which database")
            assert all(one in shared for one in ("--settings", "--section", "--url"))
        assert said == options, command


def test_commands_of_the_benchmark(reference):
    from benchmarks._main import app

    section = reference("cli").section("aurora-sql bench")
    for name, command in typer.main.get_command(app).commands.items():
        assert f"`{name}`" in section
        if name == "run":
            options = {
                text
                for parameter in command.params
                for text in parameter.opts
                if text.startswith("--") and text != "--help"
            }
            assert options <= set(re.findall(r"(--[a-z][a-z-]*)", section))


def test_dependencies(explanation):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    wanted = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(one for extra in project["project"]["optional-dependencies"].values() for one in extra),
        *project["dependency-groups"]["dev"],
    ]
    names = {re.match(r"[\w-]+", one)[0] for one in wanted} - {"aurora-sql"}
    page = explanation("dependencies")
    said = set(re.findall(r"^- \*\*([\w-]+)\*\*", page.text, re.MULTILINE))
    assert said == names


def test_layers_are_those_that_the_linter_checks(explanation):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    contracts = {one["id"]: one for one in project["tool"]["importlinter"]["contracts"]}
    block = re.search(r"```text\n(.*?)```", explanation("architecture").text, re.DOTALL)[1]
    picture = [re.split(r"\s{2,}", line.strip())[0] for line in block.splitlines() if line.strip()]
    assert picture == contracts["layers"]["layers"]
