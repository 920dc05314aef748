"""`--offline`: a command, and all that it starts, in a network namespace that has nothing but the loopback device.

Nothing has to be believed then: what would ask a hub, a tracker or a telemetry host cannot.
"""

import ctypes
import fcntl
import os
import socket
import struct
import threading
from pathlib import Path
from typing import Annotated

import typer

NEWNET, NEWUSER = 0x4000_0000, 0x1000_0000  # of unshare(2)
GET_FLAGS, SET_FLAGS, UP = 0x8913, 0x8914, 1  # of netdevice(7)
DEVICES = Path("/proc/self/net/dev")
HELP = "Cut this command, and all that it starts, off from every network."
Offline = Annotated[bool, typer.Option("--offline", help=HELP)]


def networks() -> list[str]:
    """The devices of networks that this process could use, its own loopback left out."""
    try:
        lines = DEVICES.read_text().splitlines()[2:]
    except OSError:
        return ["unknown"]
    return sorted({line.partition(":")[0].strip() for line in lines} - {"lo"})


def leave_networks() -> None:
    """Cut this process off. OSError where the system does not let it, or it has threads already."""
    if threading.active_count() > 1:
        raise OSError("the process has threads, which would stay in the network")
    user, group = os.getuid(), os.getgid()
    try:
        _unshare(NEWNET)
    except PermissionError:  # not root: a user of its own may
        _unshare(NEWNET | NEWUSER)
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    _raise_loopback()  # processes of a stage talk over it
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}  # fail at once, not after tries
    if found := networks():
        raise OSError(f"these devices are still there: {', '.join(found)}")


def _unshare(flags: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _raise_loopback() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(own, GET_FLAGS, request))[1]
        fcntl.ioctl(own, SET_FLAGS, struct.pack("16sh22x", b"lo", flags | UP))
