"""Calling what a plugin offered, and surviving it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from vsqlvault.errors import PluginFailed

log = logging.getLogger(__name__)
Answer = TypeVar("Answer")


async def call_plugin(
    plugin: object, coroutine: Coroutine[Any, Any, Answer], expected: type | tuple[type, ...], timeout_seconds: float
) -> Answer:
    """Return the plugin's answer, if it comes in time and is of an expected type.

    Raises:
        PluginFailed: it raised (``sys.exit`` and a cancellation of its own included), was late, or answered otherwise.
            The log names the plugin object and the kind of error, never its text.
    """
    name = getattr(plugin, "name", type(plugin).__name__)
    try:
        async with asyncio.timeout(timeout_seconds):
            answer = await coroutine
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, KeyboardInterrupt) or (task is not None and task.cancelling()):
            raise
        log.error("plugin failed", extra={"plugin": name, "error": type(error).__name__})  # noqa: TRY400
        raise PluginFailed from error
    if not isinstance(answer, expected):
        log.error("plugin gave an unusable answer", extra={"plugin": name, "error": type(answer).__name__})
        raise PluginFailed
    return answer
