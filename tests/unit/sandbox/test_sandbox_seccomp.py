"""What the filter answers to a system call, computed as the kernel would, for both architectures wherever the tests run."""

import errno
import re
import struct
from pathlib import Path

import pytest

from vsqlvault.sandbox.seccomp import (
    ALLOW,
    ANY_BIT,
    AT_LEAST,
    EQUAL,
    ERRNO,
    KILL_PROCESS,
    LOAD,
    RETURN,
    assembled,
    instructions,
)
from vsqlvault.sandbox.system_calls import ARCHITECTURES, REFUSED

EPERM, ENOSYS = ERRNO | errno.EPERM, ERRNO | errno.ENOSYS
THREAD = 0x3D0F00
"""The flags with which the C library starts a thread."""
FORK = 0x1200011
INCLUDE = Path("/usr/include")
HEADERS = {"x86_64": INCLUDE / "x86_64-linux-gnu/asm/unistd_64.h", "aarch64": INCLUDE / "asm-generic/unistd.h"}
TESTS = {EQUAL: lambda a, k: a == k, AT_LEAST: lambda a, k: a >= k, ANY_BIT: lambda a, k: bool(a & k)}


def answer(machine, number, *, audit=None, argument=0):
    """Run the assembled program over one call, and return what it returns."""
    of = ARCHITECTURES[machine]
    data = struct.pack("<IIQ6Q", number, of.audit if audit is None else audit, 0, argument, 0, 0, 0, 0, 0)
    code = assembled(instructions(of))
    program = [struct.unpack_from("<HBBI", code, at) for at in range(0, len(code), 8)]
    accumulator = at = 0
    while True:
        operation, yes, no, operand = program[at]
        at += 1
        if operation == RETURN:
            return operand
        if operation == LOAD:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        else:
            at += yes if TESTS[operation](accumulator, operand) else no


@pytest.fixture(params=sorted(ARCHITECTURES))
def machine(request):
    return request.param


def test_each_call_of_the_list_is_refused(machine):
    column = 0 if machine == "x86_64" else 1
    for numbers in REFUSED.values():
        if numbers[column] is not None:
            assert answer(machine, numbers[column]) == EPERM


def test_all_others_are_allowed(machine):
    of = ARCHITECTURES[machine]
    others = set(range(600)) - of.refused - {of.clone, of.clone3}
    assert {answer(machine, number) for number in others} == {ALLOW}


def test_threads_and_forks_are_allowed(machine):
    clone = ARCHITECTURES[machine].clone
    assert answer(machine, clone, argument=THREAD) == ALLOW
    assert answer(machine, clone, argument=FORK) == ALLOW


@pytest.mark.parametrize(
    "flag", [0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000], ids=hex
)
def test_no_namespace_is_made(machine, flag):
    assert answer(machine, ARCHITECTURES[machine].clone, argument=THREAD | flag) == EPERM


def test_clone3_seems_not_to_be_there(machine):
    assert answer(machine, ARCHITECTURES[machine].clone3) == ENOSYS


def test_calls_of_another_architecture_end_the_process(machine):
    others = {each.audit for each in ARCHITECTURES.values()} - {ARCHITECTURES[machine].audit} | {0x40000003, 0x40000028}
    for audit in others:
        assert answer(machine, 0, audit=audit) == KILL_PROCESS


def test_calls_of_x32_end_the_process():
    assert answer("x86_64", 0x40000000) == KILL_PROCESS
    assert answer("x86_64", 0x40000000 | 520) == KILL_PROCESS


def test_the_numbers_are_those_of_the_systems_headers(machine):
    header = HEADERS[machine]
    if not header.exists():
        pytest.skip(f"this machine has no {header}")
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", header.read_text("utf-8"))
    known = {name: int(number) for name, number in found}
    column = 0 if machine == "x86_64" else 1
    ours = {name: numbers[column] for name, numbers in REFUSED.items() if numbers[column] is not None}
    of = ARCHITECTURES[machine]
    ours |= {"clone": of.clone, "clone3": of.clone3, "seccomp": of.seccomp, "execve": of.execve}
    assert {name: number for name, number in ours.items() if known.get(name, number) != number} == {}
    assert len(set(ours) & set(known)) > 50
