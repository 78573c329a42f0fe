"""The shop's SQL files without a database: they load, keep their names, and show everything."""

import ast
import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from aurora_sql import StatementRegistry
from aurora_sql.rows import resolve_model
from aurora_sql.types import Cardinality

ROOT = Path(__file__).resolve().parents[3]
SQL = ROOT / "sql"


@pytest.fixture(scope="module")
def registry():
    return StatementRegistry.load(SQL)


def test_both_dialects_have_the_same_statements(registry):
    """Each with the same cardinality, parameters, role and model, so that callers need not know."""
    mysql = StatementRegistry.load(SQL, dialect="mysql")
    assert set(mysql) == set(registry)
    for name in registry:
        ours, theirs = registry[name], mysql[name]
        for what in ("cardinality", "access", "role", "timeout", "returns"):
            assert getattr(theirs, what) == getattr(ours, what), f"{name}: {what}"
        assert set(theirs.parameters) == set(ours.parameters), name
        assert theirs.doc.strip(), name


# Names that documentation, benchmarks and examples use: cardinality, access, role.
CONTRACT = {
    "users.get": ("one", "read", None),
    "users.get_on_reader": ("one", "read", "reader"),
    "users.get_by_email": ("maybe", "read", None),
    "users.touch": ("affected", "write", None),
    "products.lock": ("one", "write", None),
    "products.reserve": ("maybe", "write", None),
    "products.restock": ("batch", "write", None),
    "orders.add": ("one", "write", None),
    "orders.add_item": ("exec", "write", None),
    "orders.cancel": ("maybe", "write", None),
    "orders.export": ("many", "read", None),
    "orders.place_single": ("maybe", "write", None),
    "orders.search": ("many", "read", None),
    "orders.ship_next": ("many", "write", None),
    "orders.with_details": ("one", "read", None),
    "customers.order_history": ("many", "read", "reader"),
    "customers.summary": ("one", "read", "reader"),
    "events.record": ("exec", "write", None),
    "reports.sales_by_day": ("many", "read", "reader"),
    "maintenance.is_empty": ("scalar", "read", None),
    "maintenance.after_load": ("script", "write", None),
    "maintenance.after_commit": ("script", "write", None),
}


@pytest.mark.parametrize("name", CONTRACT)
def test_statements_keep_their_contract(registry, name):
    statement = registry[name]
    role = None if statement.role is None else statement.role.value
    assert (statement.cardinality.value, statement.access.value, role) == CONTRACT[name]


def test_every_cardinality_is_shown(registry):
    shown = {registry[name].cardinality for name in registry}
    assert shown == set(Cardinality)


def test_every_kind_of_directive_is_shown(registry):
    statements = [registry[name] for name in registry]
    assert any(statement.timeout for statement in statements)
    assert any(statement.role for statement in statements)
    assert any(statement.param_types for statement in statements)
    assert any(statement.column_nullability for statement in statements)


def test_every_statement_is_documented(registry):
    assert [name for name in registry if not registry[name].doc.strip()] == []


def test_every_statement_with_columns_to_speak_of_has_a_model(registry):
    without = {
        name
        for name in registry
        if registry[name].cardinality in (Cardinality.ONE, Cardinality.MAYBE, Cardinality.MANY)
        and registry[name].returns is None
    }
    # Streamed as plain rows, and read by the loader alone.
    assert without == {"orders.export", "maintenance.foreign_keys"}


def test_every_model_resolves_and_none_is_idle(registry):
    named = {registry[name].returns for name in registry} - {None}
    for path in named:
        assert issubclass(resolve_model(path), BaseModel), path
    source = (ROOT / "examples" / "shop" / "models.py").read_text(encoding="utf-8")
    declared = {node.name for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    top = {path.rpartition(".")[2] for path in named}
    nested = {"Model", "Address", "CustomerLabel", "Account", "OrderLine", "NewOrder", "Wish"}
    assert declared == top | nested


def test_order_search_is_eight_statements_with_one_sort_each(registry):
    variants = registry["orders.search"].variants
    assert len(variants) == 8
    assert all(variant.sql.count("ORDER BY") == 1 for variant in variants)


@pytest.mark.parametrize(
    ("given", "present", "absent"),
    [
        ({}, ["ORDER BY created_at DESC"], ["status =", "created_at >="]),
        ({"status": "paid"}, ["status = $"], ["created_at >="]),
        ({"sort": "largest"}, ["ORDER BY total_amount DESC"], ["ORDER BY created_at"]),
    ],
)
def test_order_search_keeps_the_lines_that_are_asked_for(registry, given, present, absent):
    variant, values = registry["orders.search"].bind({"customer_id": 1, "limit": 5, **given})
    for text in present:
        assert text in variant.sql
    for text in absent:
        assert text not in variant.sql
    assert "largest" not in values


def test_lines_fit_a_page():
    for path in SQL.rglob("*.sql"):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            assert len(line) <= 100, f"{path.name}:{number}"


@pytest.mark.parametrize("engine", ["postgresql", "mysql"])
def test_each_migration_can_be_rolled_back(engine):
    folder = ROOT / "migrations" / engine
    forward = {path.stem for path in folder.glob("*.sql") if ".rollback" not in path.name}
    backward = {path.name.removesuffix(".rollback.sql") for path in folder.glob("*.rollback.sql")}
    assert forward == backward
    assert len(forward) >= 5
    assert all(re.fullmatch(r"\d{4}\.[a-z-]+", name) for name in forward)
