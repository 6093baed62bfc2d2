"""The base of all tables of the settings."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from vsqlvault.errors.wording import worded
from vsqlvault.quick_dataclass import dataclass

_APP = r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,127}$"

_APP_WORDS = "1 to 128 letters, digits and . _ : @ / -, the first one a letter or digit"
App = Annotated[str, Field(pattern=worded(_APP, _APP_WORDS))]
APP_NAME = re.compile(_APP.removeprefix("^").removesuffix("$"))
"""The grammar of an app's name, to match in full."""


class Section(BaseModel):
    """A table of the file: strict types, no unknown keys."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class OpenSection(Section):
    """A table of the core to which plugins add fields (``PluginSettings.section``).

    A key that neither the core nor a loaded plugin knows is refused once the plugins are loaded.
    """

    model_config = ConfigDict(extra="allow")


class PublicSection(Section):
    """A table of a plugin that holds no secret: the evidence bundle shows its texts."""


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """Settings of a plugin: the table ``[plugins.<name>]`` and the pydantic model it must fit.

    With ``section``, the fields of the model are keys of that table of the core instead. The model should forbid extra
    fields; subclass ``vsqlvault.config.Section`` for that.
    """

    name: str
    model: type[BaseModel]
    section: Literal["auth", "storage"] | None = None
