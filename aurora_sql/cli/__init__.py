"""The command ``aurora-sql``."""

from __future__ import annotations

import sys

__all__ = ["main"]


def main() -> None:
    """Run the command line and exit: 0 done, 1 refused by the user, 2 an error, 130 interrupted."""
    try:
        from ._app import run  # noqa: PLC0415 - the extra may be missing, which is said here
    except ModuleNotFoundError as exc:
        if exc.name not in {"typer", "rich"}:
            raise
        sys.stderr.write(f"aurora-sql needs {exc.name}: pip install 'aurora-sql[cli]'\n")
        sys.exit(2)
    sys.exit(run(sys.argv[1:]))
