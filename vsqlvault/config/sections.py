"""The base of all tables of the settings."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

_APP = r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}$"

App = Annotated[str, Field(pattern=_APP)]
APP_NAME = re.compile(_APP.removeprefix("^").removesuffix("$"))
"""The grammar of an app's name, to match in full."""


class Section(BaseModel):
    """A table of the file: strict types, no unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)
