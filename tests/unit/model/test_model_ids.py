"""Ids: long enough to be given once, and never shared by two processes."""

from __future__ import annotations

import os
import re

from vsqlvault.model.ids import new_id

MANY = 1000


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
