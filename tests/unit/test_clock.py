"""The wall clock may step: nothing that waits or measures looks at it."""

import ast
from pathlib import Path

import aurora_sql

PACKAGE = Path(aurora_sql.__file__).parent
WALL_CLOCKS = {
    "time": {"time", "time_ns", "gmtime", "localtime", "ctime", "asctime", "strftime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}
NAMED_BY_TIME = {
    "migrations/_files.py": "the name of a new migration begins with the day",
    "cluster/_sight.py": "the topology tells when an instance was last seen",
    "local/_mysql/_engine.py": "the same, on MySQL",
    "local/_status.py": "Aurora reports when an instance was last seen",
}


def wall_clocks(path):
    """Where a module looks at the wall clock, as ``name.attribute``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value).rpartition(".")[2]
            if node.attr in WALL_CLOCKS.get(owner, ()):
                yield f"{owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            names = {one.name for one in node.names}
            yield from (f"time.{name}" for name in names & WALL_CLOCKS["time"])


def test_only_names_and_reports_look_at_the_wall_clock():
    looking = {
        str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if [*wall_clocks(path)]
    }
    assert looking == set(NAMED_BY_TIME)


def test_a_look_is_found(tmp_path):
    module = tmp_path / "module.py"
    module.write_text("import time, datetime\ntime.time()\ndatetime.datetime.now()\n")
    assert sorted(wall_clocks(module)) == ["datetime.now", "time.time"]
    module.write_text("from time import time\n")
    assert [*wall_clocks(module)] == ["time.time"]
    module.write_text("import time\ntime.monotonic()\n")
    assert [*wall_clocks(module)] == []
