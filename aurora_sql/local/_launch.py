"""Starts one program as the server's user, tied to the life of the process that asked.

Runs as a script (``python -I -S _launch.py SIGNAL UID GID PARENT PROGRAM [ARGUMENT ...]``) and
becomes the program by exec. A small process of its own is needed because user and death signal
have to be set between fork and exec, and running Python there is not safe in a process that has
threads. Imports nothing of the package: it must start in a few milliseconds.
"""

import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_ABANDONED = 125


def main(arguments: list[str]) -> None:
    """Become the program named in ``arguments``; does not return."""
    signal_number, uid, gid, parent = (int(value) for value in arguments[:4])
    program = arguments[4:]
    # A process group of its own, so that Ctrl-C in the terminal reaches the caller alone, which
    # then stops the servers in good order.
    os.setpgid(0, 0)
    os.umask(0o077)
    # A shell starts background jobs with both ignored, which would outlast exec: initdb or
    # pg_basebackup would sit out the signal that is to end them, until they are killed.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGQUIT, signal.SIG_DFL)
    arm = None
    if sys.platform == "linux":
        # Loaded while we are who we were: the library of Python may lie in root's home.
        import ctypes  # noqa: PLC0415 - costs milliseconds and only Linux needs it

        arm = ctypes.CDLL(None, use_errno=True).prctl
    if uid != os.geteuid():
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    if arm is not None:
        # After setuid, which clears the setting.
        arm(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent:
        # The caller died before the signal was armed.
        os._exit(_ABANDONED)
    os.execv(program[0], program)  # noqa: S606 - the point of this script


if __name__ == "__main__":
    main(sys.argv[1:])
