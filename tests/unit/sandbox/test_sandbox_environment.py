"""Secrets are overwritten where the system shows the environment of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vsqlvault.config.auth import ApiKeySettings, AuthSettings
from vsqlvault.errors import SettingsInvalid
from vsqlvault_plugins.auth.api_key import ApiKeyAuthenticator

SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from vsqlvault.sandbox.environment import overwrite_variables, readable_variables
overwrite_variables({"FIRST", "LAST", "NOT_SET"})
shown = Path("/proc/self/environ").read_bytes()
child = subprocess.run([sys.executable, "-c", "import os; print(os.environ.get('FIRST'))"], capture_output=True, text=True)
print(b"secret-one" in shown, b"secret-two" in shown, b"OTHER=stays" in shown, os.environ["FIRST"], child.stdout.strip(),
      sorted(readable_variables({"FIRST", "LAST", "OTHER"})))
"""
STRONG = "vsk_0123456789abcdefghijklmnopqrst"


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system shows no environment")
def test_overwritten_secrets_are_in_no_environment_that_the_system_shows() -> None:
    environment = {"FIRST": "secret-one", "OTHER": "stays", "LAST": "secret-two", "PATH": os.environ["PATH"]}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False False True secret-one  ['OTHER']"


def bootstrap(secret: str, **settings: object) -> ApiKeyAuthenticator:
    return ApiKeyAuthenticator(AuthSettings.model_validate({"api_key_env": "BOSS", **settings}), {"BOSS": secret})


@pytest.mark.parametrize(
    ("secret", "is_strong"),
    [("abc", False), ("a" * 40, False), (STRONG[:21], False), (STRONG[:22], True), (STRONG, True)],
)
def test_a_key_of_the_environment_is_strong_by_length_and_variety(secret: str, is_strong: bool) -> None:
    (known,) = bootstrap(secret).credentials()
    assert known.is_strong is is_strong


def test_a_weak_key_is_refused_where_the_settings_say_so() -> None:
    with pytest.raises(SettingsInvalid, match=r"^BOSS: expected a key of at least 22 characters") as refused:
        bootstrap("abc-weak", require_strong_keys=True)
    assert "abc-weak" not in str(refused.value)
    assert list(bootstrap(STRONG, require_strong_keys=True).credentials())


def test_the_strength_of_a_key_in_the_settings_is_unknown_and_its_age_is_that_of_the_settings() -> None:
    key = ApiKeySettings.model_validate(
        {"app": "teller", "key_sha256": "ab" * 32, "created_at": "2026-01-02T03:04:05Z"}, strict=False
    )
    (known,) = ApiKeyAuthenticator(AuthSettings(api_key_env=None, api_keys=(key,)), {}).credentials()
    assert (known.is_strong, known.created_at) == (None, key.created_at)
