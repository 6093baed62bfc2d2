"""Several credentials on one request: all of them good, all of one app, and then no more than each grants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from vsqlvault.config import Settings
from vsqlvault.errors import AmbiguousCredentials, CredentialRefused, PluginFailed
from vsqlvault.http.authentication import authenticate
from vsqlvault.interfaces.authenticator import Presented
from vsqlvault.model.principal import Principal, Role


@dataclass
class Says:
    """An authenticator with one answer."""

    answer: Principal | Exception | None
    name: str = "says"
    credential_headers: tuple[str, ...] = ()

    def authenticate(self, presented: Presented) -> Principal | None:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    async def reload(self, settings: Settings) -> None: ...


def principal(app: str = "payments", name: str = "one", **fields: Any) -> Principal:
    roles = frozenset(Role(role) for role in fields.pop("roles", ()))
    purposes = fields.pop("purposes", frozenset())
    return Principal(app, name, f"{name}-1", purposes=purposes, roles=roles, **fields)


async def who(*answers: Principal | Exception | None) -> Principal:
    return await authenticate([Says(answer) for answer in answers], Presented({}))


CARD, ACH, BOTH = frozenset({"card"}), frozenset({"ach"}), frozenset({"card", "ach"})


@pytest.mark.parametrize(
    ("one", "two", "both"),
    [
        (CARD, CARD, CARD),
        (BOTH, CARD, CARD),
        (CARD, BOTH, CARD),
        (CARD, ACH, frozenset()),
        (None, CARD, CARD),
        (CARD, None, CARD),
        (None, None, None),
        (frozenset(), None, frozenset()),
        (None, frozenset(), frozenset()),
    ],
)
async def test_they_grant_the_purposes_that_both_grant(one, two, both) -> None:
    found = await who(principal(purposes=one), principal(name="two", purposes=two))
    assert found.purposes == both


@pytest.mark.parametrize(
    ("one", "two", "both"),
    [
        (["admin"], ["admin"], ["admin"]),
        (["admin"], [], []),
        ([], ["admin"], []),
        (["admin", "auditor"], ["auditor"], ["auditor"]),
    ],
)
async def test_they_grant_the_roles_that_both_grant(one, two, both) -> None:
    found = await who(principal(roles=one), principal(name="two", roles=two))
    assert found.roles == frozenset(Role(role) for role in both)


async def test_the_row_names_the_first_and_an_identity_is_whoseever_there_is() -> None:
    found = await who(None, principal(name="key"), principal(name="cert", identity="workload-7"))
    assert (found.method, found.credential_id, found.identity) == ("key", "key-1", "workload-7")
    found = await who(principal(name="token", identity="jane"), principal(name="cert", identity="workload-7"))
    assert (found.method, found.identity) == ("token", "jane")


async def test_three_narrow_each_other() -> None:
    found = await who(
        principal(purposes=None),
        principal(purposes=BOTH, roles=["admin"]),
        principal(purposes=CARD, roles=["admin"]),
    )
    assert (found.purposes, found.roles) == (CARD, frozenset())


@pytest.mark.parametrize("place", [0, 1, 2])
async def test_one_of_another_app_spoils_all(place: int) -> None:
    answers: list[Any] = [principal(), principal()]
    answers.insert(place, principal(app="billing"))
    with pytest.raises(AmbiguousCredentials):
        await who(*answers)


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("others", [[principal(), principal()], [principal(), None], [None, None]])
async def test_a_bad_one_is_refused_whatever_else_is_there(others, place: int) -> None:
    answers: list[Any] = list(others)
    answers.insert(place, CredentialRefused("bad", credential_id="bad-1"))
    with pytest.raises(CredentialRefused) as refused:
        await who(*answers)
    assert (refused.value.why, refused.value.credential_id) == ("bad", "bad-1")


@pytest.mark.parametrize("broken", [ZeroDivisionError(), principal(app="@owner")])
async def test_an_unavailable_credential_is_not_replaced_by_another(broken: Any) -> None:
    check: Callable[..., Any] = pytest.raises
    for answers in ((principal(), broken), (broken, principal())):
        with check(PluginFailed):
            await who(*answers)
