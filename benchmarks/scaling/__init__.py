"""How throughput grows with callers, processes, readers and rows: measured, and modelled.

``plan`` gives what a result says of a fleet as plain data; the command prints it.
"""

from benchmarks.scaling._command import Demand, Plan, plan, register, show
from benchmarks.scaling._model import Check, Fleet, Outlook, Prediction, checks, typical_error
from benchmarks.scaling._results import ScalingResult, is_scaling

__all__ = [
    "Check",
    "Demand",
    "Fleet",
    "Outlook",
    "Plan",
    "Prediction",
    "ScalingResult",
    "checks",
    "is_scaling",
    "plan",
    "register",
    "show",
    "typical_error",
]
