"""The pages of plugins, as operations."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from vsqlvault.errors import PluginUnusable, RoleRequired
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Handler, Operation, RequestContext
from vsqlvault.http.pages.rendering import Renderer
from vsqlvault.http.pages.replies import redirect
from vsqlvault.interfaces.page import Page, PageRequest
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.plugin_calls import call_plain, call_plugin

PAGE_SECONDS = 5.0
_PATH = re.compile(r"/[a-z][a-z0-9-]*(?:/[a-z0-9-]+)*", re.ASCII)
_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*", re.ASCII)


class AnyQuery(BaseModel):
    """The query string of a page, which the plugin reads."""

    model_config = ConfigDict(extra="allow")


def page_operations(
    pages: Sequence[Page], taken: Iterable[Operation], *, timeout_seconds: float = PAGE_SECONDS
) -> list[Operation]:
    """Return the operations of the pages beside those of the vault. ``timeout_seconds``: how long a page may take.

    Raises:
        PluginUnusable: a name, a path or a template is invalid, or a path is in use.
    """
    first_words = {operation.path.split("/")[1] for operation in taken}
    paths: set[str] = set()
    for page in pages:
        if not _NAME.fullmatch(page.name):
            raise PluginUnusable(f"page {page.name!r}: expected lower-case words with -")
        if not _PATH.fullmatch(page.path) or page.path.split("/")[1] in first_words or page.path in paths:
            raise PluginUnusable(
                f"page {page.name!r}: expected a path of lower-case words that no other route begins with"
            )
        paths.add(page.path)
    renderer = _renderer(pages)
    return [operation for page in pages for operation in _operations(page, renderer, timeout_seconds)]


def _renderer(pages: Sequence[Page]) -> Renderer:
    templates = {}
    for page in pages:
        text = f'{{% extends "layout.html" %}}{{% block content %}}{page.template}{{% endblock %}}'
        templates[page.name] = text
        try:
            Renderer({page.name: text})
        except Exception as error:
            raise PluginUnusable(f"page {page.name!r}: its template is invalid: {error}") from error
    return Renderer(templates)


def _operations(page: Page, renderer: Renderer, timeout_seconds: float) -> list[Operation]:
    async def show(context: RequestContext) -> Reply:
        request = PageRequest(context.call.principal, context.request.query())

        async def attempt() -> Reply:
            variables = await call_plugin(page, lambda: page.show(request), Mapping, timeout_seconds)
            fixed = {"caller": context.call.principal, "csrf": context.csrf_token}
            return call_plain(page, lambda: renderer.reply(page.name, page.title, {**variables, **fixed}))

        return await _audited(context, page, Audited.READ_PAGE, attempt)

    async def submit(context: RequestContext) -> Reply:
        fields = {name: value for name, value in context.form.items() if name != "csrf"}
        request = PageRequest(context.call.principal, form=fields)

        async def attempt() -> Reply:
            await call_plugin(page, lambda: page.submit(request), type(None), timeout_seconds)
            return redirect(page.path)

        return await _audited(context, page, Audited.SUBMIT_PAGE, attempt)

    shown = _operation("GET", page, show, Audited.READ_PAGE)
    return [shown, _operation("POST", page, submit, Audited.SUBMIT_PAGE)] if page.accepts_forms else [shown]


async def _audited(
    context: RequestContext, page: Page, audited: Audited, work: Callable[[], Awaitable[Reply]]
) -> Reply:
    """Return the reply, once its row is committed. Raises RoleRequired, PluginFailed, Unavailable."""
    trace = AuditContext(context.call, audited, subject=page.name)

    async def attempt() -> Reply:
        trace.observe(await context.vault.queue.read())
        if page.roles and not page.roles & context.call.principal.roles:
            raise RoleRequired(" or ".join(sorted(page.roles)))
        reply = await work()
        await context.vault.queue.record(trace.granted(reply.status))
        return reply

    return await context.vault.audit.recorder.run_audited(trace, attempt)


def _operation(method: str, page: Page, handler: Handler, audited: Audited) -> Operation:
    return Operation(
        method=method,
        path=page.path,
        name=f"page-{page.name}-{method.lower()}",
        summary=page.title,
        handler=handler,
        audited=audited,
        query=AnyQuery,
        media_types=("text/html",),
        tag="pages",
        in_browser=True,
        is_page=True,
    )
