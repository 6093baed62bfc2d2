"""The system calls that a vault does not need, and their numbers.

The numbers are those of ``arch/x86/entry/syscalls/syscall_64.tbl`` and of ``include/uapi/asm-generic/unistd.h``, which
aarch64 uses. None: the architecture has no such call.
"""

from __future__ import annotations

from collections.abc import Mapping

from vsqlvault.quick_dataclass import dataclass

REFUSED: Mapping[str, tuple[int | None, int | None]] = {
    # # programs, and the memory of other processes
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    # namespaces and file systems
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "open_tree_attr": (467, 467),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "fanotify_init": (300, 262),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    # # frequent targets of kernel exploits
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "uselib": (134, None),
    "lookup_dcookie": (212, 18),
    # the kernel itself, and the machine
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "iopl": (172, None),
    "ioperm": (173, None),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "vhangup": (153, 58),
}


@dataclass(frozen=True, slots=True)
class Architecture:
    """The parameters of a filter: the value of AUDIT_ARCH, and system call numbers."""

    audit: int
    refused: frozenset[int]
    clone: int
    clone3: int
    seccomp: int
    execve: int
    foreign_from: int | None = None
    """Calls from this number on belong to another ABI of the same architecture (x32)."""


ARCHITECTURES: Mapping[str, Architecture] = {
    "x86_64": Architecture(
        audit=0xC000003E,
        refused=frozenset(x86 for x86, _ in REFUSED.values() if x86 is not None),
        clone=56,
        clone3=435,
        seccomp=317,
        execve=59,
        foreign_from=0x40000000,
    ),
    "aarch64": Architecture(
        audit=0xC00000B7,
        refused=frozenset(arm for _, arm in REFUSED.values() if arm is not None),
        clone=220,
        clone3=435,
        seccomp=277,
        execve=221,
    ),
}
