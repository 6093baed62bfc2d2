"""Answers that are too large for the memory: read piece by piece, or written to a file."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from vsqlvault.client.errors import ConnectionLost, UnexpectedAnswer
from vsqlvault.client.files import durable_file


class ByteStream:
    """The bytes of an answer. Enter it, then iterate once, or save it. A stream that breaks off raises ConnectionLost."""

    def __init__(self, opened: Callable[[], AbstractContextManager[httpx.Response]]) -> None:
        self._opened = opened
        self._entered: AbstractContextManager[httpx.Response] | None = None
        self._response: httpx.Response | None = None

    def __enter__(self) -> ByteStream:
        self._entered = self._opened()
        self._response = self._entered.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._entered is not None:
            self._entered.__exit__(kind, error, traceback)

    def __iter__(self) -> Iterator[bytes]:
        broken = None
        try:
            yield from _required(self._response).iter_bytes()
        except httpx.RequestError as error:
            broken = type(error).__name__
        if broken:
            raise ConnectionLost(broken)

    def rows(self) -> Iterator[dict[str, Any]]:
        """Return the rows of an NDJSON stream."""
        lines = _Lines()
        for piece in self:
            yield from lines.of(piece)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole stream to a file that only its owner can read. Nothing is at ``path`` unless the stream is whole."""
        with durable_file(Path(path)) as file:
            for piece in self:
                file.write(piece)


class AsyncByteStream:
    """As ``ByteStream``, for ``async with`` and ``async for``."""

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[httpx.Response]]) -> None:
        self._opened = opened
        self._entered: AbstractAsyncContextManager[httpx.Response] | None = None
        self._response: httpx.Response | None = None

    async def __aenter__(self) -> AsyncByteStream:
        self._entered = self._opened()
        self._response = await self._entered.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._entered is not None:
            await self._entered.__aexit__(kind, error, traceback)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        broken = None
        try:
            async for piece in _required(self._response).aiter_bytes():
                yield piece
        except httpx.RequestError as error:
            broken = type(error).__name__
        if broken:
            raise ConnectionLost(broken)

    async def rows(self) -> AsyncIterator[dict[str, Any]]:
        """Return the rows of an NDJSON stream."""
        lines = _Lines()
        async for piece in self:
            for row in lines.of(piece):
                yield row

    async def save(self, path: str | os.PathLike[str]) -> None:
        """Write the whole stream to a file that only its owner can read. Nothing is at ``path`` unless the stream is whole."""
        with durable_file(Path(path)) as file:
            async for piece in self:
                file.write(piece)


class _Lines:
    """Cuts pieces into lines of JSON."""

    def __init__(self) -> None:
        self._rest = b""

    def of(self, piece: bytes) -> Iterator[dict[str, Any]]:
        *lines, self._rest = (self._rest + piece).split(b"\n")
        yield from (_row(line) for line in lines)


def _row(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnexpectedAnswer("expected a row of JSON a line")
    return found


def _required(response: httpx.Response | None) -> httpx.Response:
    if response is None:
        raise RuntimeError("a stream is read inside of its with statement")
    return response
