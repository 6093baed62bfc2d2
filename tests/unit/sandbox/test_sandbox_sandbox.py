"""The steps against a kernel that grants them, or does not; this process itself stays as it is."""

import errno
import os
import resource
from pathlib import Path

import pytest

from vsqlvault.config import HardeningSettings, Settings
from vsqlvault.errors import HardeningUnavailable, SettingsInvalid
from vsqlvault.sandbox import sandbox
from vsqlvault.sandbox.kernel import PR_GET_SECCOMP, PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS, Kernel
from vsqlvault.sandbox.landlock import ADD_RULE, CREATE_RULESET, RESTRICT_SELF, Reach
from vsqlvault.sandbox.reach import RequestedAccess
from vsqlvault.sandbox.sandbox import STEPS, apply_sandbox
from vsqlvault.sandbox.system_calls import ARCHITECTURES

REACH = Reach(frozenset({Path("/")}), frozenset(), frozenset({53}), frozenset({8443}))
ASKED = RequestedAccess(frozenset(), frozenset(), frozenset({53}))
EIGHT_MIB = 8 * 1024 * 1024
OPTIONS = {3: 4, 39: 38}
"""Which prctl reads what another has set."""


class Pretended(Kernel):
    """Grants everything and changes nothing, but for what a test takes away."""

    machine = "x86_64"

    def __init__(self, *, abi=7, threads=1, refused=(), locked_limit=resource.RLIM_INFINITY, is_above_limits=False):
        self.abi = abi
        self.refused = dict(refused)
        self.asked = []
        self.limits = {resource.RLIMIT_CORE: (1, 1), resource.RLIMIT_MEMLOCK: (0, locked_limit)}
        self._threads = threads
        self._is_above_limits = is_above_limits
        self._set = {PR_SET_DUMPABLE: 1, PR_SET_NO_NEW_PRIVS: 0}
        self._filtered = False

    def _asked(self, what, *arguments):
        self.asked.append((what, *arguments))
        if number := self.refused.get(what):
            raise OSError(number, os.strerror(number))

    def prctl(self, option, argument=0):
        self._asked("prctl", option, argument)
        if number := self.refused.get(option):
            raise OSError(number, os.strerror(number))
        if option in self._set:
            self._set[option] = argument
            return 0
        return 2 * self._filtered if option == PR_GET_SECCOMP else self._set[OPTIONS[option]]

    def syscall(self, number, *arguments):
        self._asked(number, *arguments)
        if number == ARCHITECTURES["x86_64"].execve:
            raise OSError(errno.EPERM if self._filtered else errno.EFAULT, "")
        if number == ARCHITECTURES["x86_64"].seccomp:
            self._filtered = True
        if number == CREATE_RULESET:
            return self.abi if arguments[-1] else os.open("/", os.O_RDONLY)
        return 0

    def lock_memory(self, flags):
        self._asked("mlockall", flags)
        if self.limits[resource.RLIMIT_MEMLOCK][0] != resource.RLIM_INFINITY and not self._is_above_limits:
            raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))

    def restrict_files(self, mask):
        self._asked("umask", mask)

    def limit(self, of):
        return self.limits[of]

    def set_limit(self, of, soft, hard):
        self._asked("setrlimit", of, soft, hard)
        self.limits[of] = (soft, hard)

    def threads(self):
        return self._threads


@pytest.fixture(autouse=True)
def everything(monkeypatch):
    """Reach the whole system, for no test here is about what is left of it."""
    monkeypatch.setattr(sandbox, "reach_of", lambda settings, asked: REACH)


def locked(kernel, undeclared=(), **switches):
    return apply_sandbox(Settings(hardening=HardeningSettings(**switches)), ASKED, undeclared=undeclared, kernel=kernel)


def states(kernel, undeclared=(), **switches):
    found = locked(kernel, undeclared, **switches).states
    assert [step.name for step in found] == list(STEPS)
    return {step.name: step for step in found}


def test_each_step_is_on_where_the_kernel_grants_it():
    assert {step.state for step in states(Pretended()).values()} == {"on"}


def test_privileges_are_given_up_before_what_is_conditional_on_it():
    kernel = Pretended()
    states(kernel)
    asked = [call[0] for call in kernel.asked]
    assert ("prctl", PR_SET_NO_NEW_PRIVS, 1) in kernel.asked
    no_more = kernel.asked.index(("prctl", PR_SET_NO_NEW_PRIVS, 1))
    assert no_more < asked.index(RESTRICT_SELF) < asked.index(ARCHITECTURES["x86_64"].seccomp)
    assert asked.index("mlockall") < asked.index(RESTRICT_SELF)


@pytest.mark.parametrize(
    ("step", "lacking", "why"),
    [
        ("limits", {"refused": {PR_SET_DUMPABLE: errno.EINVAL}}, "Invalid argument"),
        ("memory_lock", {"refused": {"mlockall": errno.ENOSYS}}, "not implemented"),
        ("memory_lock", {"locked_limit": EIGHT_MIB}, "8192 KiB"),
        ("no_new_privileges", {"refused": {PR_SET_NO_NEW_PRIVS: errno.EINVAL}}, "Invalid argument"),
        ("landlock", {"refused": {CREATE_RULESET: errno.ENOSYS}}, "the kernel has no Landlock"),
        ("landlock", {"refused": {CREATE_RULESET: errno.EOPNOTSUPP}}, "disabled in the kernel"),
        ("landlock", {"refused": {CREATE_RULESET: errno.EPERM}}, "Operation not permitted"),
        ("landlock", {"refused": {RESTRICT_SELF: errno.EPERM}}, "no_new_privileges is required"),
        ("landlock", {"refused": {ADD_RULE: errno.EINVAL}}, "Invalid argument"),
        ("landlock", {"threads": 3}, "3 threads are running"),
        ("seccomp", {"refused": {317: errno.ENOSYS}}, "not implemented"),
        ("seccomp", {"refused": {317: errno.EACCES}}, "no_new_privileges is required"),
    ],
)
class TestAStepThatCannotBeTaken:
    def test_is_said_and_the_others_are_taken(self, step, lacking, why):
        found = states(Pretended(**lacking))
        assert {name for name, each in found.items() if each.state != "on"} == {step}
        assert found[step].state == "unavailable"
        assert why in found[step].detail

    def test_refuses_the_start_where_it_is_required(self, step, lacking, why):
        with pytest.raises(
            HardeningUnavailable, match=rf"hardening\.{step}: expected it to be available, found: .*{why}"
        ):
            states(Pretended(**lacking), **{step: "required"})

    def test_is_not_tried_where_it_is_off(self, step, lacking, why):
        assert states(Pretended(**lacking), **{step: "off"})[step].state == "off"


def test_an_architecture_without_a_list_has_no_filter():
    kernel = Pretended()
    kernel.machine = "riscv64"
    assert states(kernel)["seccomp"].detail == "there is no list of system calls for riscv64"


def test_another_system_than_linux_has_none_of_it(monkeypatch):
    monkeypatch.setattr(sandbox.sys, "platform", "darwin")
    assert {(step.state, step.detail) for step in states(None).values()} == {("unavailable", "available on Linux only")}
    with pytest.raises(HardeningUnavailable, match="Linux only"):
        states(None, limits="required")


def test_a_filter_that_does_not_hold_is_not_called_on():
    class Indifferent(Pretended):
        def syscall(self, number, *arguments):
            self._filtered = False
            return super().syscall(number, *arguments)

    assert states(Indifferent())["seccomp"].detail == "accepted by the kernel without effect"


def test_a_thread_with_its_own_filter_is_reported():
    class Torn(Pretended):
        def syscall(self, number, *arguments):
            return 4711 if number == 317 else super().syscall(number, *arguments)

    assert states(Torn())["seccomp"].state == "unavailable"


def test_a_new_kernel_restricts_the_threads_that_run_already():
    kernel = Pretended(abi=8, threads=3)
    assert states(kernel)["landlock"].state == "on"
    (restricted,) = [call for call in kernel.asked if call[0] == RESTRICT_SELF]
    assert restricted[2] == 8


@pytest.mark.parametrize(("abi", "rules"), [(1, 1), (3, 1), (4, 3), (6, 3), (7, 3)])
def test_ports_are_closed_where_the_kernel_can(abi, rules):
    kernel = Pretended(abi=abi)
    detail = states(kernel)["landlock"].detail
    assert sum(call[0] == ADD_RULE for call in kernel.asked) == rules
    assert ("connects to 53" in detail) == (abi >= 4)


def test_a_limit_of_locked_memory_is_left_as_high_as_it_may_be():
    for above in (True, False):
        kernel = Pretended(locked_limit=EIGHT_MIB, is_above_limits=above)
        assert states(kernel)["memory_lock"].state == ("on" if above else "unavailable")
        assert kernel.limits[resource.RLIMIT_MEMLOCK] == (EIGHT_MIB, EIGHT_MIB)


def test_a_plugin_that_says_nothing_of_its_needs_leaves_landlock_to_the_settings():
    found = states(Pretended(), undeclared=["exotic"])["landlock"]
    assert (found.state, "exotic" in found.detail) == ("off", True)
    assert states(Pretended(), undeclared=["exotic"], landlock="required")["landlock"].state == "on"


def test_a_forked_child_locks_its_memory_and_inherits_the_rest():
    before = locked(Pretended())
    kernel = Pretended(refused={"mlockall": errno.EPERM})
    after = before.in_child(HardeningSettings(), kernel)
    assert [step.state for step in after.states] == ["on", "unavailable", "on", "on", "on"]
    assert {call[0] for call in kernel.asked} == {"setrlimit", "mlockall"}
    with pytest.raises(HardeningUnavailable, match="memory_lock"):
        before.in_child(HardeningSettings(memory_lock="required"), kernel)


def test_new_settings_that_ask_for_what_is_closed_are_refused_where_it_is():
    more = RequestedAccess(frozenset(), frozenset(), frozenset({53, 443}))
    with pytest.raises(
        SettingsInvalid,
        match=r"hardening\.landlock: port 443 has been inaccessible since the start; restart to allow it",
    ):
        locked(Pretended()).check(more)
    locked(Pretended()).check(ASKED)
    locked(Pretended(), landlock="off").check(more)
