"""Run again, alone, the few tests that failed beside others, and say which they were.

Tests that break servers and wait for them share a machine with whatever else it does. A failure
that does not come again with nothing beside it is reported as unsteady and to be mended, and does
not stop a change that has nothing to do with it. The drills are left out of this: what they find
is rare by nature, and a write that is lost once is lost.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

MOST = 3
"""Tests. More than these, or a run that ended before its tests did, is a failure as it stands."""

FAILED = Path(".pytest_cache/v/cache/lastfailed")
"""Where pytest keeps the names of the tests that failed."""


def main(report: str) -> int:
    """Judge the run that wrote ``report``, in JUnit's form; return the exit code."""
    tests = ET.parse(report).iter("testcase")  # noqa: S314 - pytest wrote it
    ended_early = ("pytest", "internal") in {
        (one.get("classname"), one.get("name")) for one in tests
    }
    names = sorted(json.loads(FAILED.read_text())) if FAILED.is_file() else []
    final = [name for name in names if name.startswith("tests/drills/") or "::" not in name]
    if ended_early or not 0 < len(names) <= MOST or final:
        print(f"Not run again: {len(names)} tests failed, to be taken as they are: {final}")
        return 1
    code = subprocess.run([sys.executable, "-m", "pytest", *names], check=False).returncode
    found = "UNSTEADY, passed when run again alone" if code == 0 else "FAILED TWICE"
    print(f"{found}:", *names, sep="\n  ")
    return code


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
