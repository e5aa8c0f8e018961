"""Chromium against a running demo, for tests: what it needs, and what people do with the page."""

import contextlib
import shutil
import time
from urllib.parse import urlsplit

import pytest

from internvl.demo.app import create_demo_app
from server_client import served

#: Debian's names first.
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
_FLAGS = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"),
    *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    # nothing but this machine has a name
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)
#: Patience, not a measure: a busy machine with two cores takes its time.
TIMEOUT_MS = 20_000


@contextlib.contextmanager
def chromium():
    """Yield a browser; skip where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright (pip install playwright)")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(executable_path=CHROMIUM, args=list(_FLAGS))
        yield browser
        browser.close()


@contextlib.contextmanager
def running_demo(models):
    """Yield the address of a demo over a shelf or a pipeline."""
    with served(create_demo_app(models, allowed_hosts=["127.0.0.1"])) as address:
        yield address


class Window:
    """A browser window that looks at the demo."""

    def __init__(self, browser, address, *, context=None, **options):
        self.context = context or browser.new_context(
            **{"viewport": {"width": 1280, "height": 800}, **options}
        )
        self.context.set_default_timeout(TIMEOUT_MS)
        self.page = self.context.new_page()
        self.address = address
        self.outside, self.errors = [], []
        self.page.on("request", self._note_request)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.ready()

    def _note_request(self, request):
        here = urlsplit(self.address).netloc
        if urlsplit(request.url).scheme not in ("data", "blob") and urlsplit(request.url).netloc != here:
            self.outside.append(request.url)

    def ready(self):
        """Wait until the page can be used: its examples or its conversation are there."""
        self.message.wait_for()
        self.page.locator("#chat .example, #chat .message").first.wait_for()
        return self

    @property
    def message(self):
        return self.page.locator("#composer textarea")

    @property
    def answers(self):
        """The first row of each answer: its text. Boxes and costs are further rows."""
        before = "preceding-sibling::div[contains(@class, 'message-row')][1][contains(@class, 'user-row')]"
        return self.page.locator(f"//div[contains(@class, 'bot-row')][{before}]")

    @property
    def questions(self):
        return self.page.locator("#chat .user .message-content")

    def add(self, *paths):
        """Choose picture files for the next question."""
        before = self.page.locator("#composer img").count()
        self.page.set_input_files("#composer input[type=file]", [str(path) for path in paths])
        self.wait(lambda: self.page.locator("#composer img").count() == before + len(paths))

    def ask(self, text, *paths):
        """Ask and wait until the answer is complete."""
        if paths:
            self.add(*paths)
        before = self.answers.count()
        self.message.fill(text)
        self.message.press("Enter")
        self.wait(lambda: self.answers.count() > before)
        self.idle()

    def idle(self):
        """Wait until nothing is being answered."""
        self.page.locator("#composer .submit-button").wait_for()

    def tab(self, name):
        self.page.get_by_role("tab", name=name).click()

    def wait(self, condition):
        """Wait until something is so."""
        end = time.monotonic() + TIMEOUT_MS / 1000
        while not condition():
            assert time.monotonic() < end, "it did not come about"
            self.page.wait_for_timeout(50)

    def close(self):
        self.context.close()
