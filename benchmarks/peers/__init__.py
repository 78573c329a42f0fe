"""The comparison with peers: what services use instead, on the same rows, in the same run.

A peer may not be installed: then it is named in the report with what to install. Before
anything is measured, all have to give the library's answers, and to leave the same rows behind.
"""

from benchmarks.peers._page import write_page
from benchmarks.peers._plan import plan
from benchmarks.peers._report import print_peers
from benchmarks.peers._results import PeerResult, is_peers
from benchmarks.peers._run import Comparison, Plan

__all__ = [
    "Comparison",
    "PeerResult",
    "Plan",
    "is_peers",
    "plan",
    "print_peers",
    "write_page",
]
