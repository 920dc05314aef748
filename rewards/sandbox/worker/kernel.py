"""The calls of the Linux kernel that Python 3.11 does not offer, and the filter of those that a program may make.

Runs inside a worker: standard library only.
"""

import ctypes
import os
import platform
import struct

NEWNS, NEWUTS, NEWIPC = 0x0002_0000, 0x0400_0000, 0x0800_0000
NEWUSER, NEWPID, NEWNET, NEWCGROUP = 0x1000_0000, 0x2000_0000, 0x4000_0000, 0x0200_0000
NAMESPACES = NEWNS | NEWUTS | NEWIPC | NEWPID | NEWNET
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 1, 2, 4, 32, 4096, 16384, 1 << 18
MNT_DETACH = 2
MOUNT_SETATTR, AT_FDCWD, AT_RECURSIVE, READ_ONLY, NO_SETUID, NO_DEVICES = 442, -100, 0x8000, 1, 2, 4  # Linux 5.12
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, PR_SET_CHILD_SUBREAPER = 1, 24, 22, 38, 36
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}

libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    """A function of the C library; raises `OSError` where it gives -1."""
    value = getattr(libc, name)(*arguments)
    if value == -1:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return value


def unshare(flags: int) -> None:
    """Enter namespaces of one's own; a new process namespace begins with the next child."""
    _call("unshare", flags)


def mount(source: str, target: str, kind: str = "", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    texts = [text.encode() if text else None for text in (source, target, kind)]
    _call("mount", *texts, ctypes.c_ulong(flags), data.encode() if data else None)


def bind(source: str, target: str) -> None:
    """Show a folder at another place, to be read only, and all that is mounted below it."""
    mount(source, target, flags=MS_BIND | MS_REC)
    attributes = struct.pack("QQQQ", READ_ONLY | NO_SETUID | NO_DEVICES, 0, 0, 0)
    arguments = (MOUNT_SETATTR, AT_FDCWD, target.encode(), AT_RECURSIVE, attributes, len(attributes))
    _call("syscall", *arguments)


def pivot_root() -> None:
    """Make the working folder, the root of a mount, the root of all, and let go of the old one."""
    _call("syscall", PIVOT_ROOT[platform.machine()], b".", b".")
    _call("umount2", b".", MNT_DETACH)
    os.chdir("/")


def prctl(option: int, value: int = 0) -> None:
    """prctl(2) with one number."""
    _call("prctl", option, ctypes.c_ulong(value), 0, 0, 0)


def drop_capabilities() -> None:
    """Give up every privilege, for good and for all that is executed from here."""
    for capability in range(64):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # EINVAL past the kernel's last one; EPERM where there was none to begin with
            break
    header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
    _call("capset", header, nothing)
    prctl(PR_SET_NO_NEW_PRIVS, 1)


# What a program is refused, by its number on x86_64 and aarch64: sockets but for pairs; namespaces, mounts, tracing,
# kernel interfaces with a history of holes; memory that no limit counts; terminals' input
REFUSED = {
    "socket": (41, 198), "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51), "unshare": (272, 97),
    "setns": (308, 268), "move_mount": (429, 429), "open_tree": (428, 428), "fsopen": (430, 430),
    "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425), "keyctl": (250, 219),
    "add_key": (248, 217), "request_key": (249, 218), "kexec_load": (246, 104), "init_module": (175, 105),
    "finit_module": (313, 273), "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194),
    "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180), "personality": (135, 92),
    "open_by_handle_at": (304, 265), "name_to_handle_at": (303, 264), "acct": (163, 89), "swapon": (167, 224),
    "reboot": (169, 142), "quotactl": (179, 60), "fanotify_init": (300, 262), "pidfd_getfd": (438, 438),
    "kcmp": (312, 272), "vmsplice": (278, 75),
}  # fmt: skip
CLONE, CLONE3, IOCTL = {"x86_64": 56, "aarch64": 220}, 435, {"x86_64": 16, "aarch64": 29}
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
TIOCSTI = 0x5412
LOAD, EQUAL, AT_LEAST, ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # of classic BPF
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
NUMBER, ARCH, FIRST_ARGUMENT, SECOND_ARGUMENT = 0, 4, 16, 24  # offsets in struct seccomp_data, low words
EPERM, ENOSYS = 1, 38


def seccomp_program() -> bytes:
    """The filter, as `struct sock_filter` one after another: what is refused fails with EPERM, the rest goes on."""
    machine = platform.machine()
    column = list(ARCHITECTURE).index(machine)
    code = [
        (LOAD, 0, 0, ARCH), (EQUAL, 1, 0, ARCHITECTURE[machine]), (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER), (AT_LEAST, 0, 1, 0x4000_0000), (RETURN, 0, 0, ERRNO | EPERM),  # the x32 interface
        (EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, ERRNO | ENOSYS),  # its flags lie in memory: libc goes on with clone
    ]  # fmt: skip
    for numbers in REFUSED.values():
        code += [(EQUAL, 0, 1, numbers[column]), (RETURN, 0, 0, ERRNO | EPERM)]
    namespaces = NAMESPACES | NEWUSER | NEWCGROUP
    code += [
        (EQUAL, 0, 3, CLONE[machine]), (LOAD, 0, 0, FIRST_ARGUMENT), (ANY_BIT, 0, 1, namespaces),
        (RETURN, 0, 0, ERRNO | EPERM),
        (LOAD, 0, 0, NUMBER), (EQUAL, 0, 3, IOCTL[machine]), (LOAD, 0, 0, SECOND_ARGUMENT), (EQUAL, 0, 1, TIOCSTI),
        (RETURN, 0, 0, ERRNO | EPERM), (RETURN, 0, 0, ALLOW),
    ]  # fmt: skip
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


program = seccomp_program()


def filter_calls() -> None:
    """Put the filter before this process and all that it starts; needs no privilege after `no_new_privs`."""
    content = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(content))
    _call("prctl", PR_SET_SECCOMP, 2, header, 0, 0)
