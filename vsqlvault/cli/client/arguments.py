"""The error of an argument that a command cannot use."""

from __future__ import annotations

from vsqlvault.client.errors import Unusable


class WrongArgument(Unusable):
    """An argument cannot be used. Its detail is a whole sentence."""
