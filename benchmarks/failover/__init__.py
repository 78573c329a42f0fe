"""The failover of the writer under load: the library beside others, on the local cluster.

Each subject gets a process and a cluster of its own, the same load and the same
failovers. A ledger notes what its callers were told, and is compared with what the table has in
the end.
"""

from benchmarks.failover._report import FailoverReport, print_failover, print_failover_comparison
from benchmarks.failover._results import (
    FailoverOptions,
    FailoverResult,
    Outcome,
    is_failover,
    regressions,
)
from benchmarks.failover._run import Listener, Run
from benchmarks.failover._subjects import CONTENDERS, Contender, choose_subjects

__all__ = [
    "CONTENDERS",
    "Contender",
    "FailoverOptions",
    "FailoverReport",
    "FailoverResult",
    "Listener",
    "Outcome",
    "Run",
    "choose_subjects",
    "is_failover",
    "print_failover",
    "print_failover_comparison",
    "regressions",
]
