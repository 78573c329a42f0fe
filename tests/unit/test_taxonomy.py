"""Every code at every stage: what it is and what may be done about it."""

import itertools

import pytest

from aurora_sql import errors, taxonomy
from aurora_sql.taxonomy import Action, Category, Kind, Stage, Unit, classify, decide
from aurora_sql.types import Access, Engine

POSTGRESQL, MYSQL = Engine.POSTGRESQL, Engine.MYSQL
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
ELSEWHERE = ((RECONNECT, RECONNECT), (REPLAY, REPLAY), (REPLAY, REPLAY))
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
        Category.LOST: "57P01 57P02 57P03 57P05 25P04 08000 08001 08003 08006 08P01",
        Category.UNKNOWN: "40003 08007",
        Category.LOGIN: "28000 28P01 08004",
        Category.TOO_MANY: "53300",
        Category.READ_ONLY: "25006",
        Category.CONFLICT: "40001 40P01 40002 40000",
        Category.LOCK: "55P03",
        Category.STALE: "26000 42P05",
        Category.CANCELLED: "57014 25P03",
        Category.PERMANENT: "25P02 23505 23503 23001 23514 23502 23P01 23000 22001 22P02 42601"
        " 42501 42P01 0A000 3D000 3F000 24000 34000 53100 58030 58P01 F0000 XX000 XX001 P0001"
        " 99999 02000",
    },
    MYSQL: {
        Category.LOST: "2002 2003 2006 2013 2026 2055 1053 1152 1153 1154 1155 1156 1157 1158"
        " 1159 1160 1161",
        Category.UNKNOWN: "1180",
        Category.LOGIN: "1044 1045 1698",
        Category.TOO_MANY: "1040 1203",
        Category.READ_ONLY: "1290 1792 1836",
        Category.CONFLICT: "1213",
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
    assert keeps == {"1205", "3572", "1243", "1615", "1317", "1969", "3024"}
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


def test_the_names_that_are_public():
    assert sorted(taxonomy.__all__) == sorted(set(taxonomy.__all__))
    assert all(hasattr(taxonomy, name) for name in taxonomy.__all__)
