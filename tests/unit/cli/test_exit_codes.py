"""How a command shows the errors of fields."""

from __future__ import annotations

import pytest

from vsqlvault.cli.exit_codes import exit_code
from vsqlvault.errors import FieldError, ValidationFailed


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (FieldError("app", "required"), "; app is required"),
        (FieldError("ap", "unknown field (did you mean app?)"), "; ap: unknown field (did you mean app?)"),
        (FieldError("ttl", "a duration"), "; ttl: expected a duration"),
        (FieldError("", "one line"), "; expected one line"),
    ],
)
def test_an_error_of_a_field_reads_as_a_sentence(
    error: FieldError, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse() -> None:
        raise ValidationFailed(errors=[error])

    assert exit_code(refuse) == 2
    assert capsys.readouterr().err.strip().endswith(text)
