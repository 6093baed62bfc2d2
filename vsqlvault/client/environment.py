"""Where the vault is and which credential to use: environment variables, then a profile in a file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vsqlvault.client.errors import Unusable

PREFIX = "VSQL_VAULT_"
MEMBERS = {
    "addr": "the address of the vault",
    "key": "an API key",
    "token": "a token",
    "cacert": "a PEM file of the authorities that may sign the vault's certificate",
    "client_cert": "a PEM file with the certificate of this client",
    "client_key": "a PEM file with the key of that certificate",
    "key_header": "the name of the header of the API key",
}
"""What a profile may have. The variable of a member is its name in upper case after ``VSQL_VAULT_``."""
FILES = {"key_file": "key", "token_file": "token"}
"""Members of a profile that name a file with the credential."""
PROFILE_VARIABLE = "VSQL_VAULT_PROFILE"
DEFAULT_ADDRESS = "http://localhost:8443"
OTHERS = 0o077
ONE_WORD, SEVERAL_WORDS = 0.75, 0.85
"""The ratio of ``difflib`` from which a variable is taken for a misspelt one."""
_OF_THE_SERVER = frozenset({"API_KEY", "CONFIG", "KEY_RING"})
_OTHER_WORDS = {"ADDRESS": "ADDR", "URL": "ADDR"}


@dataclass(frozen=True)
class Access:
    """Where and as whom to call. No ``repr`` shows the credential."""

    addr: str = DEFAULT_ADDRESS
    key: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    cacert: str | None = None
    client_cert: str | None = None
    client_key: str | None = None
    key_header: str | None = None

    def options(self) -> dict[str, Any]:
        """Return the arguments of a client, besides the address."""
        found: dict[str, Any] = {"key": self.key, "token": self.token}
        if self.cacert:
            found["verify"] = self.cacert
        if self.client_cert:
            found["cert"] = (self.client_cert, self.client_key or self.client_cert)
        if self.key_header:
            found["key_header"] = self.key_header
        return found


def profile_file(environment: Mapping[str, str]) -> Path:
    """Return where profiles are kept: ``vsqlvault/client.toml`` in ``$XDG_CONFIG_HOME``, ``~/.config`` by default."""
    home = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".config")
    return Path(home) / "vsqlvault" / "client.toml"


def read_access(profile: str | None = None, environment: Mapping[str, str] | None = None) -> Access:
    """Return the access that the environment and the profile give; a variable overrides the member of the profile.

    ``profile`` overrides ``VSQL_VAULT_PROFILE``, and that the ``default`` of the file.

    Raises:
        Unusable: the profile does not exist, the file cannot be used, or a variable is a misspelt one of the client.
    """
    environment = os.environ if environment is None else environment
    _check_names(environment)
    found = _profile(profile or environment.get(PROFILE_VARIABLE), profile_file(environment))
    given = {name: environment.get(PREFIX + name.upper()) for name in MEMBERS}
    overridden = {name: value for name, value in given.items() if value}
    if {"key", "token"} & set(overridden):
        found = {name: value for name, value in found.items() if name not in {"key", "token"}}
    return Access(**{**found, **overridden})


def _check_names(environment: Mapping[str, str]) -> None:
    """Refuse a misspelt variable: without it, a command would send the credential to the default address.

    A variable that is not very like one of the client is left alone: the settings of a server may name it.
    """
    known = {*(name.upper() for name in MEMBERS), "PROFILE"}
    for variable in sorted(environment):
        name = variable.removeprefix(PREFIX)
        if name == variable or "__" in name or name in known | _OF_THE_SERVER or not name.replace("_", "").isalpha():
            continue
        near = _OTHER_WORDS.get(name) or _nearest(name, known)
        if near:
            raise Unusable(f"{variable}: expected a variable of the client (did you mean {PREFIX}{near}?)")


def _nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name of as many words, if it differs in about one letter of a word, or in few of several words."""
    from difflib import get_close_matches  # noqa: PLC0415 - only an unknown variable needs it

    words = name.count("_")
    alike = [each for each in known if each.count("_") == words]
    return next(iter(get_close_matches(name, alike, 1, SEVERAL_WORDS if words else ONE_WORD)), None)


def _profile(name: str | None, path: Path) -> dict[str, str]:
    """Return the members of a profile, the default one where no name is given; empty where there is no file."""
    if name is None and not path.exists():
        return {}
    document = _read(path)
    name = name or document.get("default")
    if name is None:
        return {}
    profiles = document.get("profiles")
    members = profiles.get(name) if isinstance(profiles, dict) else None
    if not isinstance(members, dict):
        known = ", ".join(profiles) if isinstance(profiles, dict) and profiles else "none"
        raise Unusable(f"{path}: expected a profile [profiles.{name}], found {known}")
    return _checked(members, f"{path}: profiles.{name}")


def _read(path: Path) -> dict[str, Any]:
    try:
        import tomllib  # noqa: PLC0415 - Python 3.10 has none
    except ImportError:
        raise Unusable("profiles need Python 3.11 or newer; set the environment variables instead") from None
    try:
        if path.stat().st_mode & OTHERS:
            raise Unusable(f"{path}: expected a file that only its owner can read: chmod 600")
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise Unusable(f"{path}: expected a file of profiles that can be read, found: {error.strerror}") from None
    except ValueError:
        raise Unusable(f"{path}: expected TOML in UTF-8") from None


def _checked(members: Mapping[str, Any], where: str) -> dict[str, str]:
    """Return the members of a profile, those of files read. Raises Unusable, which shows no value."""
    found: dict[str, str] = {}
    for name, value in members.items():
        if name not in MEMBERS and name not in FILES:
            expected = ", ".join((*MEMBERS, *FILES))
            raise Unusable(f"{where}.{name}: expected one of {expected}")
        if not isinstance(value, str):
            raise Unusable(f"{where}.{name}: expected a text")
        found[FILES.get(name, name)] = _secret(value, f"{where}.{name}") if name in FILES else value
    return found


def _secret(path: str, where: str) -> str:
    try:
        return Path(path).expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise Unusable(f"{where}: expected a file with a credential that can be read") from None
