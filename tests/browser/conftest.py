"""One Chromium and one vault for the tests of a file. They are skipped where Chromium or Playwright is not installed."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.fixtures import served
from tests.support.server import VaultServer

CHROMIUM = shutil.which("chromium") or ""
REPORT = "/compliance/report?format=html"
SETTLE_MILLISECONDS = 8_000.0


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    if not CHROMIUM:
        pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, chromium: Any) -> Iterator[VaultServer]:
    directory = tmp_path_factory.mktemp("browser")
    yield from served(directory, f"sqlite:///{directory / 'vault.db'}")


class Visitor:
    """A browser with a profile of its own, which records what goes wrong and where requests go."""

    def __init__(self, browser: Any, server: VaultServer, **options: Any) -> None:
        self.server = server
        self.origin = f"http://localhost:{server.address[1]}"
        self.context = browser.new_context(base_url=self.origin, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(SETTLE_MILLISECONDS)
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("dialog", lambda dialog: self.errors.append(f"dialog: {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))

    def sign_in(self, key: str, path: str = REPORT) -> None:
        self.page.goto(path)
        self.page.get_by_label("API key or token").fill(key)
        self.press("Sign in")

    def press(self, button: str) -> Any:
        """Press a button that sends a form, and return the response once its page is loaded."""
        with self.page.expect_navigation() as answer:
            self.page.get_by_role("button", name=button).click()
        return answer.value

    def sign_in_as(self, app: str, path: str = REPORT) -> None:
        self.sign_in(self.server.apps[app].key, path)

    def heading(self) -> str:
        return str(self.page.locator("h1").inner_text())

    @property
    def strangers(self) -> list[str]:
        """Requests to other origins."""
        return [url for url in self.requests if not url.startswith((f"{self.origin}/", "data:"))]


@pytest.fixture
def new_visitor(chromium: Any, server: VaultServer) -> Iterator[Callable[..., Visitor]]:
    made: list[Visitor] = []

    def make(**options: Any) -> Visitor:
        made.append(Visitor(chromium, server, **options))
        return made[-1]

    yield make
    for each in made:
        each.context.close()


@pytest.fixture
def visitor(new_visitor: Callable[..., Visitor]) -> Visitor:
    return new_visitor()
