"""Each problem of the vault is an exception of the client, with the same status."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from vsqlvault import errors as server_errors
from vsqlvault.client import errors
from vsqlvault.client.problems import BY_SLUG, problem_of
from vsqlvault.client.wire import Answer


def problems(
    root: type[server_errors.VaultError] = server_errors.VaultError,
) -> Iterator[type[server_errors.VaultError]]:
    for error in root.__subclasses__():
        if error.__module__.startswith("vsqlvault.") and not issubclass(error, server_errors.StartUpRefused):
            yield error
            yield from problems(error)


STATUSES = {error.slug: error.status for error in problems()}


def test_the_client_knows_every_problem_of_the_server_with_its_status() -> None:
    assert {slug: kind.status for slug, kind in BY_SLUG.items()} == STATUSES


@pytest.mark.parametrize("slug", sorted(STATUSES))
def test_a_class_is_called_as_its_slug(slug: str) -> None:
    assert BY_SLUG[slug].__name__ == "".join(word.capitalize() for word in slug.split("-"))
    assert getattr(errors, BY_SLUG[slug].__name__) is BY_SLUG[slug]


def group_of(status: int) -> type[errors.VaultError]:
    groups = {
        errors.Denied: {401, 403, 423},
        errors.NotThere: {404, 410},
        errors.Conflicting: {409, 412},
        errors.TemporarilyUnavailable: {429, 503},
        errors.Failed: {500, 507},
    }
    return next((group for group, statuses in groups.items() if status in statuses), errors.Invalid)


@pytest.mark.parametrize("slug", sorted(STATUSES))
def test_a_class_is_in_the_group_of_its_status(slug: str) -> None:
    assert issubclass(BY_SLUG[slug], group_of(STATUSES[slug]))


def answer(status: int, document: object = None, **headers: str) -> Answer:
    return Answer(status, headers, b"" if document is None else json.dumps(document).encode())


def test_a_problem_keeps_what_the_vault_said() -> None:
    document = {
        "type": "urn:vsqlvault:problem:validation-failed",
        "title": "Some fields are invalid",
        "detail": "two of them",
        "errors": [{"field": "metadata.a", "expected": "a number"}],
    }
    error = problem_of(answer(422, document, **{"x-request-id": "r1"}))
    assert type(error) is errors.ValidationFailed
    assert (error.status, error.slug, error.request_id, error.detail) == (422, "validation-failed", "r1", "two of them")
    assert error.errors == (errors.FieldProblem("metadata.a", "a number"),)


@pytest.mark.parametrize(
    ("field", "expected", "sentence"),
    [
        ("encrypted_value", "required", "encrypted_value is required"),
        ("tll", "unknown field (did you mean ttl?)", "tll: unknown field (did you mean ttl?)"),
        ("ttl", "a duration", "ttl: expected a duration"),
        ("", "a JSON object", "body: expected a JSON object"),
    ],
)
def test_an_error_names_each_field_and_its_fault(field: str, expected: str, sentence: str) -> None:
    error = errors.ValidationFailed(errors=[errors.FieldProblem(field, expected)])
    assert f": {sentence} (" in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (404, errors.NotThere),
        (403, errors.Denied),
        (418, errors.Invalid),
        (503, errors.Unavailable),
        (599, errors.Failed),
    ],
)
def test_an_unknown_problem_is_of_the_group_of_its_status(status: int, kind: type[errors.VaultError]) -> None:
    error = problem_of(answer(status, {"type": "urn:vsqlvault:problem:newer-than-this", "title": "New"}))
    assert isinstance(error, kind)
    assert error.slug == "newer-than-this"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"type": 7, "errors": 3, "detail": {}}', b"[" * 100_000])
def test_an_answer_that_is_no_problem_document_is_an_error_all_the_same(body: bytes) -> None:
    assert isinstance(problem_of(Answer(500, {}, body)), errors.Failed)


def test_text_of_an_answer_cannot_move_the_cursor_of_a_terminal() -> None:
    error = problem_of(answer(500, {"detail": "\x1b[2J\r\nok"}))
    assert error.detail == "?[2J??ok"


def test_a_head_that_finds_nothing_is_not_found_without_a_body() -> None:
    assert type(problem_of(answer(404, **{"x-request-id": "r1"}))) is errors.NotFound
    assert type(problem_of(answer(404))) is errors.NotThere
