"""Ids: long enough to be given once, and never shared by two processes."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, timedelta

from vsqlvault.model.ids import new_id, new_timed_id

MANY = 1000
AT = datetime(2027, 1, 15, 12, 0, 0, 123456, tzinfo=UTC)


def test_an_id_is_32_hex_digits_and_given_once() -> None:
    found = [new_id() for _ in range(MANY)]
    assert len(set(found)) == MANY
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in found)


def test_a_process_that_forks_shares_no_id_with_its_child() -> None:
    new_id()  # so that some are ready
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, new_id().encode())
        os._exit(0)
    os.waitpid(child, 0)
    theirs = os.read(reading, 32).decode()
    os.close(reading)
    os.close(writing)
    assert len(theirs) == 32
    assert theirs not in {new_id() for _ in range(MANY)}


def test_a_timed_id_is_32_hex_digits_and_begins_with_its_milliseconds() -> None:
    found = {new_timed_id(AT) for _ in range(MANY)}
    assert len(found) == MANY
    assert all(re.fullmatch(r"[0-9a-f]{32}", each) for each in found)
    assert {int(each[:12], 16) for each in found} == {1800014400123}


def test_a_later_one_stands_behind_an_earlier_one() -> None:
    assert new_timed_id(AT) < new_timed_id(AT + timedelta(milliseconds=1))


def test_an_instant_before_1970_has_an_id_too() -> None:
    assert new_timed_id(datetime(1969, 1, 1, tzinfo=UTC)).startswith("0" * 12)
