"""Methods of a client, made from the functions in ``requests``: one declaration for both kinds of client."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from functools import update_wrapper
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from vsqlvault.client.wire import Page, Request

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Protocol

    from vsqlvault.client.streams import AsyncByteStream, ByteStream

    class Sends(Protocol):
        """A client that waits for the answer."""

        def send(self, request: Request[Result]) -> Result:
            """Send a request and return its result."""

        def stream(self, request: Request[None]) -> ByteStream:
            """Return the answer of a request as a stream."""

    class AsyncSends(Protocol):
        """A client that is awaited."""

        async def send(self, request: Request[Result]) -> Result:
            """Send a request and return its result."""

        def stream(self, request: Request[None]) -> AsyncByteStream:
            """Return the answer of a request as a stream."""


P = ParamSpec("P")
Result = TypeVar("Result")
Item = TypeVar("Item")


class _Method(Generic[P, Result]):
    """A descriptor: on an instance, a function with the parameters of the one that makes the request."""

    def __init__(self, build: Callable[P, Request[Result]]) -> None:
        self.build = build
        update_wrapper(self, build)  # type: ignore[arg-type]


class Call(_Method[P, Result]):
    """Sends the request and returns the result."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Call[P, Result]: ...

    @overload
    def __get__(self, instance: Sends, owner: Any) -> Callable[P, Result]: ...

    def __get__(self, instance: Sends | None, owner: Any) -> Call[P, Result] | Callable[P, Result]:
        if instance is None:
            return self
        build, send = self.build, instance.send

        def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            return send(build(*args, **kwargs))

        return call


class Iterate(_Method[P, Page[Item]]):
    """Returns an iterator over the items of all pages; each page is asked for when it is needed."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Iterate[P, Item]: ...

    @overload
    def __get__(self, instance: Sends, owner: Any) -> Callable[P, Iterator[Item]]: ...

    def __get__(self, instance: Sends | None, owner: Any) -> Iterate[P, Item] | Callable[P, Iterator[Item]]:
        if instance is None:
            return self
        build, send = self.build, instance.send

        def iterate(*args: P.args, **kwargs: P.kwargs) -> Iterator[Item]:
            return _pages(send, build(*args, **kwargs))

        return iterate


class Stream(_Method[P, None]):
    """Returns a context manager that gives the answer piece by piece."""

    @overload
    def __get__(self, instance: None, owner: Any) -> Stream[P]: ...

    @overload
    def __get__(self, instance: Sends, owner: Any) -> Callable[P, ByteStream]: ...

    def __get__(self, instance: Sends | None, owner: Any) -> Stream[P] | Callable[P, ByteStream]:
        if instance is None:
            return self
        build, stream = self.build, instance.stream
        return lambda *args, **kwargs: stream(build(*args, **kwargs))


class AsyncCall(_Method[P, Result]):
    """As ``Call``, awaited."""

    @overload
    def __get__(self, instance: None, owner: Any) -> AsyncCall[P, Result]: ...

    @overload
    def __get__(self, instance: AsyncSends, owner: Any) -> Callable[P, Coroutine[Any, Any, Result]]: ...

    def __get__(
        self, instance: AsyncSends | None, owner: Any
    ) -> AsyncCall[P, Result] | Callable[P, Coroutine[Any, Any, Result]]:
        if instance is None:
            return self
        build, send = self.build, instance.send

        async def call(*args: P.args, **kwargs: P.kwargs) -> Result:
            return await send(build(*args, **kwargs))

        return call


class AsyncIterate(_Method[P, Page[Item]]):
    """As ``Iterate``, for ``async for``."""

    @overload
    def __get__(self, instance: None, owner: Any) -> AsyncIterate[P, Item]: ...

    @overload
    def __get__(self, instance: AsyncSends, owner: Any) -> Callable[P, AsyncIterator[Item]]: ...

    def __get__(
        self, instance: AsyncSends | None, owner: Any
    ) -> AsyncIterate[P, Item] | Callable[P, AsyncIterator[Item]]:
        if instance is None:
            return self
        build, send = self.build, instance.send

        def iterate(*args: P.args, **kwargs: P.kwargs) -> AsyncIterator[Item]:
            return _async_pages(send, build(*args, **kwargs))

        return iterate


class AsyncStream(_Method[P, None]):
    """As ``Stream``, for ``async with``."""

    @overload
    def __get__(self, instance: None, owner: Any) -> AsyncStream[P]: ...

    @overload
    def __get__(self, instance: AsyncSends, owner: Any) -> Callable[P, AsyncByteStream]: ...

    def __get__(self, instance: AsyncSends | None, owner: Any) -> AsyncStream[P] | Callable[P, AsyncByteStream]:
        if instance is None:
            return self
        build, stream = self.build, instance.stream
        return lambda *args, **kwargs: stream(build(*args, **kwargs))


def _pages(send: Callable[[Request[Page[Item]]], Page[Item]], request: Request[Page[Item]]) -> Iterator[Item]:
    following: Request[Page[Item]] | None = request
    while following is not None:
        page = send(following)
        yield from page.items
        following = page.next


async def _async_pages(
    send: Callable[[Request[Page[Item]]], Coroutine[Any, Any, Page[Item]]], request: Request[Page[Item]]
) -> AsyncIterator[Item]:
    following: Request[Page[Item]] | None = request
    while following is not None:
        page = await send(following)
        for item in page.items:
            yield item
        following = page.next
