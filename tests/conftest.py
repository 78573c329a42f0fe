"""What holds for every test."""

from __future__ import annotations

import signal


def pytest_configure() -> None:
    """Let children be interrupted, also where the run itself was started in the background.

    A shell starts background jobs with SIGINT ignored, and what is ignored is inherited: the tests
    that interrupt a process of ours would wait for it in vain.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser) -> None:
    """Let the drills be run at full length."""
    parser.addoption(
        "--drills",
        choices=("short", "long"),
        default="short",
        help="how long each drill is; the long form takes minutes",
    )
