"""What all result models share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Count = Annotated[int, Field(ge=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
NextCursor = Annotated[str | None, Field(description="Send it as `cursor` for the next page. Null: there is no more.")]


class Result(BaseModel):
    """A JSON object of a response."""

    model_config = ConfigDict(extra="forbid", defer_build=True)
