"""Letting the kernel notice a peer that is gone."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aurora_sql.drivers.base import ConnectOptions


def keep_alive(sock: Any, options: ConnectOptions) -> None:
    """Let the kernel notice a peer that is gone; without this that takes a quarter of an hour."""
    if sock is None or sock.family not in {socket.AF_INET, socket.AF_INET6}:
        return
    wanted = [
        ("TCP_KEEPIDLE", options.keepalive_idle),
        ("TCP_KEEPINTVL", options.keepalive_interval),
        ("TCP_KEEPCNT", options.keepalive_count),
        ("TCP_USER_TIMEOUT", round(options.tcp_user_timeout * 1000)),
    ]
    if options.keepalive_idle > 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in wanted:
        # Not every platform has every one of them.
        option = getattr(socket, name, None)
        if option is not None and value > 0:
            sock.setsockopt(socket.IPPROTO_TCP, option, round(value))
