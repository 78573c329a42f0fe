"""Every code at every stage, and every class of error: what may be done about it."""

import inspect
import itertools

import asyncpg
import pytest

from aurora_sql import errors, taxonomy
from aurora_sql.drivers import _asyncpg_errors
from aurora_sql.execution._attempts import soften
from aurora_sql.taxonomy import (
    Action,
    Category,
    Kind,
    Stage,
    Unit,
    classify,
    decide,
    decide_error,
    may_rerun,
)
from aurora_sql.types import Access, Engine

POSTGRESQL, MYSQL = Engine.POSTGRESQL, Engine.MYSQL
READ, WRITE = Access.READ, Access.WRITE
RAISE, RETRY, RECONNECT = Action.RAISE, Action.RETRY, Action.RECONNECT
REPLAY, VERIFY = Action.REPLAY, Action.VERIFY

# The cases of one row, in this order: stage, unit, access.
CASES = list(itertools.product(Stage, Unit, Access))

# What may be done, written out for each group: by stage, then by unit, then read and write.
#             statement               in a transaction     commit
NOT_SENT = ((RECONNECT, RECONNECT), (REPLAY, REPLAY), (REPLAY, REPLAY))
OPEN_END = ((RECONNECT, VERIFY), (REPLAY, REPLAY), (REPLAY, VERIFY))
NEVER = ((RAISE, RAISE), (RAISE, RAISE), (RAISE, RAISE))
AGAIN = ((RETRY, RETRY), (REPLAY, REPLAY), (REPLAY, REPLAY))
ELSEWHERE = ((RAISE, RECONNECT), (RAISE, REPLAY), (RAISE, REPLAY))
IF_SHARED = ((RAISE, RAISE), (REPLAY, REPLAY), (REPLAY, REPLAY))

# not sent, answered, unanswered
ROWS = {
    Category.LOST: (NOT_SENT, OPEN_END, OPEN_END),
    Category.UNKNOWN: (NOT_SENT, OPEN_END, OPEN_END),
    Category.LOGIN: (NEVER, NEVER, NEVER),
    Category.PERMANENT: (NEVER, NEVER, NEVER),
    Category.TOO_MANY: (NOT_SENT, AGAIN, OPEN_END),
    Category.CONFLICT: (NOT_SENT, AGAIN, OPEN_END),
    Category.STALE: (NOT_SENT, AGAIN, OPEN_END),
    Category.READ_ONLY: (NOT_SENT, ELSEWHERE, OPEN_END),
    Category.LOCK: (NOT_SENT, IF_SHARED, OPEN_END),
    Category.CANCELLED: (NOT_SENT, NEVER, OPEN_END),
}

CODES = {
    POSTGRESQL: {
        Category.LOST: "57P01 57P02 57P03 57P05 25P03 25P04 08000 08001 08003 08006 08P01",
        Category.UNKNOWN: "40003 08007",
        Category.LOGIN: "28000 28P01 08004",
        Category.TOO_MANY: "53300",
        Category.READ_ONLY: "25006",
        Category.CONFLICT: "40001 40P01 40000",
        Category.LOCK: "55P03",
        Category.STALE: "26000 42P05",
        Category.CANCELLED: "57014",
        Category.PERMANENT: "25P02 40002 23505 23503 23001 23514 23502 23P01 23000 22001 22P02 42601"
        " 42501 42P01 0A000 3D000 3F000 24000 34000 53100 58030 58P01 F0000 XX000 XX001 P0001"
        " 99999 02000",
    },
    MYSQL: {
        Category.LOST: "2002 2003 2006 2013 2026 2055 1053 1152 1153 1154 1155 1156 1157 1158"
        " 1159 1160 1161 1927 3032 3169 4031",
        Category.UNKNOWN: "1180",
        Category.LOGIN: "1044 1045 1698",
        Category.TOO_MANY: "1040 1203",
        Category.READ_ONLY: "1290 1792 1836",
        Category.CONFLICT: "1213 1412",
        Category.LOCK: "1205 3572",
        Category.STALE: "1243 1615",
        Category.CANCELLED: "1317 1969 3024",
        Category.PERMANENT: "1048 1054 1062 1064 1146 1264 1366 1406 1451 1452 3819 9999 1162 1151",
    },
}
TABLE = [
    pytest.param(engine, code, category, id=f"{engine.value}-{code}")
    for engine, rows in CODES.items()
    for category, codes in rows.items()
    for code in codes.split()
]


@pytest.mark.parametrize(("engine", "code", "category"), TABLE)
def test_every_code_at_every_stage(engine, code, category):
    kind = classify(engine, code, "ERROR")
    assert kind.category is category
    expected = [action for stage in ROWS[category] for unit in stage for action in unit]
    assert [decide(kind, *case) for case in CASES] == expected


def test_no_code_with_a_row_is_left_out_here():
    for engine, rows in CODES.items():
        shown = {code for codes in rows.values() for code in codes.split()}
        assert taxonomy.known_codes(engine) <= shown


@pytest.mark.parametrize("severity", ["FATAL", "PANIC"])
@pytest.mark.parametrize("code", ["58030", "58P01", "F0000", "F0001", "XX000", "XX001", "XX002"])
def test_trouble_of_the_server_is_a_loss_only_when_fatal(code, severity):
    assert classify(POSTGRESQL, code, severity) is taxonomy.LOST
    for milder in ("ERROR", None):
        assert classify(POSTGRESQL, code, milder).category is Category.PERMANENT
        assert not classify(POSTGRESQL, code, milder).ends_session


def test_an_answer_that_is_no_loss_stays_none_when_fatal():
    assert classify(POSTGRESQL, "42601", "FATAL").category is Category.PERMANENT


def test_a_stale_plan_shares_its_code_with_features_that_are_missing():
    assert classify(POSTGRESQL, "0A000", stale_plan=True).error is errors.StatementStale
    assert classify(POSTGRESQL, "0A000").error is errors.ProgrammingError
    assert classify(POSTGRESQL, "23505", stale_plan=True).error is errors.UniqueViolation


def test_a_write_whose_answer_is_missing_is_never_simply_repeated():
    for category, unit in itertools.product(Category, (Unit.STATEMENT, Unit.COMMIT)):
        kind = Kind(category, errors.AuroraError)
        action = decide(kind, Stage.UNANSWERED, unit, Access.WRITE)
        assert action in {Action.VERIFY, Action.RAISE}


def test_a_transaction_is_never_continued_by_one_of_its_statements():
    for category, stage, unit, access in itertools.product(
        Category, Stage, (Unit.IN_TRANSACTION, Unit.COMMIT), Access
    ):
        action = decide(Kind(category, errors.AuroraError), stage, unit, access)
        assert action not in {Action.RETRY, Action.RECONNECT}


def test_mysql_undoes_the_statement_alone_except_in_a_deadlock():
    keeps = {
        code for code in taxonomy.known_codes(MYSQL) if classify(MYSQL, code).keeps_transaction
    }
    assert keeps == {"1205", "1412", "3572", "1243", "1615", "1317", "1969", "3024"}
    assert not any(
        classify(POSTGRESQL, code).keeps_transaction for code in taxonomy.known_codes(POSTGRESQL)
    )


@pytest.mark.parametrize(
    ("engine", "code", "error"),
    [
        (POSTGRESQL, "28P01", errors.AuthenticationFailed),
        (POSTGRESQL, "28000", errors.AuthenticationFailed),
        (POSTGRESQL, "08004", errors.AuthenticationFailed),
        (POSTGRESQL, "53300", errors.TooManyConnections),
        (POSTGRESQL, "3D000", errors.ConfigurationError),
        (POSTGRESQL, "42704", errors.ConfigurationError),
        (POSTGRESQL, "57P03", errors.ConnectionFailed),
        (POSTGRESQL, "XX000", errors.ConnectionFailed),
        (MYSQL, "1045", errors.AuthenticationFailed),
        (MYSQL, "1040", errors.TooManyConnections),
        (MYSQL, "1049", errors.ConfigurationError),
        (MYSQL, "2003", errors.ConnectionFailed),
    ],
)
def test_refusals_of_a_new_session(engine, code, error):
    assert taxonomy.connect_error(engine, code) is error


# -- what an error carries -----------------------------------------------------------------------


def test_what_runs_again():
    assert {action for action in Action if may_rerun(action)} == {RETRY, RECONNECT, REPLAY}


def from_postgresql(code, severity):
    """The error that the driver makes of an answer."""
    fields = {"S": severity, "V": severity, "C": code, "M": "said the server"}
    return _asyncpg_errors.translate(asyncpg.PostgresError.new(fields), where="db:5432", sent=True)


def corrected(error, unit, access):
    """The error as the layers above the driver hand it on."""
    if unit is Unit.COMMIT and error.outcome_unknown:
        return errors.CommitInDoubt("what the driver makes of it")
    soften(error, access, in_transaction=unit is Unit.IN_TRANSACTION)
    return error


def check(kind, error, unit, access):
    """The error must be treated as the code; retried here or elsewhere is the same to a caller."""
    in_doubt = unit is Unit.COMMIT and error.outcome_unknown
    if in_doubt and access is READ:
        # Whoever only read could have had it again; a doubt is told all the same.
        assert decide_error(corrected(error, unit, access), unit, access) is VERIFY
        return
    by_code = decide(kind, Stage.ANSWERED, unit, access)
    by_error = decide_error(corrected(error, unit, access), unit, access)
    assert may_rerun(by_error) == may_rerun(by_code)
    assert (by_error is REPLAY) == (by_code is REPLAY)
    assert (by_error is VERIFY) == (by_code is VERIFY)


UNITS = list(itertools.product(Unit, Access))


@pytest.mark.parametrize("severity", ["ERROR", "FATAL"])
@pytest.mark.parametrize(
    "code", sorted({code for row in CODES[POSTGRESQL].values() for code in row.split()})
)
@pytest.mark.parametrize(("unit", "access"), UNITS)
def test_an_error_is_treated_as_the_code_it_was_made_of(code, severity, unit, access):
    kind = classify(POSTGRESQL, code, severity)
    check(kind, from_postgresql(code, severity), unit, access)


@pytest.mark.parametrize("code", sorted(taxonomy.known_codes(MYSQL)))
@pytest.mark.parametrize(("unit", "access"), UNITS)
def test_an_error_of_mysql_is_treated_as_its_code(code, unit, access):
    kind = classify(MYSQL, code)
    open_end = kind.error is errors.ConnectionLost
    check(kind, kind.error("x", outcome_unknown=open_end or None), unit, access)


# A lone read, a lone write, the whole of a transaction; what is not named here is raised.
ACTIONS = {
    "ConflictError": (RETRY, RETRY, REPLAY),
    "SerializationConflict": (RETRY, RETRY, REPLAY),
    "Deadlock": (RETRY, RETRY, REPLAY),
    "LockTimeout": (RAISE, RAISE, REPLAY),
    "StatementStale": (RETRY, RETRY, REPLAY),
    "ReadOnlyInstance": (RAISE, RECONNECT, REPLAY),
    "ConnectionFailed": (RECONNECT, RECONNECT, REPLAY),
    "TooManyConnections": (RECONNECT, RECONNECT, REPLAY),
    "ConnectionLost": (RECONNECT, VERIFY, VERIFY),
    "CommitInDoubt": (VERIFY, VERIFY, VERIFY),
}
CLASSES = sorted(
    (
        one
        for one in vars(errors).values()
        if inspect.isclass(one) and issubclass(one, errors.AuroraError)
    ),
    key=lambda one: one.__name__,
)


def make(kind):
    return kind("x", row=0) if kind is errors.BulkValueError else kind("x")


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_class_of_error(kind):
    expected = ACTIONS.get(kind.__name__, (RAISE, RAISE, RAISE))
    found = (
        decide_error(make(kind), Unit.STATEMENT, READ),
        decide_error(make(kind), Unit.STATEMENT, WRITE),
        decide_error(make(kind), Unit.COMMIT, WRITE),
    )
    assert found == expected


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("access", Access)
@pytest.mark.parametrize("unit", [Unit.STATEMENT, Unit.COMMIT])
def test_what_may_have_been_applied_never_runs_again(kind, access, unit):
    error = make(kind)
    error.retry_safe, error.outcome_unknown = False, True
    assert not may_rerun(decide_error(error, unit, access))


def test_a_write_whose_result_turned_out_not_to_fit_has_been_applied():
    def stale():
        return errors.StatementStale("it has run", retry_safe=False)

    assert decide_error(stale(), Unit.STATEMENT, WRITE) is VERIFY
    assert decide_error(stale(), Unit.COMMIT, WRITE) is VERIFY
    for unit, access in ((Unit.STATEMENT, READ), (Unit.IN_TRANSACTION, WRITE)):
        error = corrected(stale(), unit, access)
        assert error.retry_safe
        assert may_rerun(decide_error(error, Unit.COMMIT, WRITE))


@pytest.mark.parametrize(("unit", "action"), [(Unit.STATEMENT, RECONNECT), (Unit.COMMIT, REPLAY)])
def test_a_loss_before_anything_was_sent_is_harmless(unit, action):
    error = errors.ConnectionLost("x", retry_safe=True)
    assert decide_error(error, unit, WRITE) is action


@pytest.mark.parametrize("unit", Unit)
def test_what_was_to_change_nothing_is_not_taken_elsewhere_to_write(unit):
    assert decide_error(errors.ReadOnlyInstance("x"), unit, READ) is RAISE


@pytest.mark.parametrize(
    "error", [ValueError(), KeyError(), TimeoutError(), ConnectionResetError(), KeyboardInterrupt()]
)
@pytest.mark.parametrize("unit", Unit)
def test_what_is_not_ours_is_raised(error, unit):
    assert decide_error(error, unit, READ) is RAISE


def test_the_names_that_are_public():
    assert sorted(taxonomy.__all__) == sorted(set(taxonomy.__all__))
    assert all(hasattr(taxonomy, name) for name in taxonomy.__all__)
