"""Reads the controls of a scene, for the tests of controls and of their record."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from vsqlvault.model.control import ControlState

OK, FAILING, NOT_IN_USE = ControlState.OK, ControlState.FAILING, ControlState.NOT_IN_USE
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


async def looked(scene: Any) -> dict[str, Any]:
    return {control.name: control for control in await scene.vault.compliance.controls.look()}
