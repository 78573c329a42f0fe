"""The benchmark suite: six operations of the reference shop, beside floors and against targets.

``python -m benchmarks run`` measures, ``compare`` compares two results, ``failover`` kills writers,
``scaling`` predicts what a fleet would do, ``layers``, ``memory`` and ``startup`` look at single
costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks._results import Result, compare

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Result", "compare", "main"]


def main(arguments: Sequence[str] | None = None, *, program: str = "python -m benchmarks") -> int:
    """Run the command line and return its exit code.

    Args:
        arguments: Default: those of the process.
        program: Its name in help texts.
    """
    # Here: whoever only reads results needs neither a driver nor a terminal.
    from benchmarks._main import main as run_main  # noqa: PLC0415 - see above

    return run_main(arguments, program)
