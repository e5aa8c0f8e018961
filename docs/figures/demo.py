"""Draws docs/figures/demo.png: the demo's page in Chromium, with the bundled model's own answers.

python docs/figures/demo.py        # demo.png beside this script; needs playwright and chromium
"""

import shutil
import threading
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

import internvl
from internvl.demo.app import create_demo_app, listen, run_app

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples"
TURNS = (("sign.png", "What does the sign say?"), (None, "What color is the text?"))
COLOURS = 128  # of the picture: enough for flat colours, a third of the size


def ask(page: Page, picture: str | None, question: str) -> None:
    done = page.locator("#composer .submit-button")
    answers = page.locator("#chat .bot-row").count()
    if picture is not None:
        page.set_input_files("#composer input[type=file]", str(EXAMPLES / picture))
        page.locator("#composer .thumbnail-item img").wait_for()
    page.fill("#composer textarea", question)
    page.keyboard.press("Enter")
    page.locator("#chat .bot-row").nth(answers + 1).wait_for()  # the answer, and what it cost
    done.wait_for()


def photograph(address: str, path: Path) -> None:
    with sync_playwright() as playwright:
        chromium = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, device_scale_factor=1.5)
        page.goto(address)
        page.get_by_role("tab", name="Settings").click()
        page.fill("#max-tiles input[type=number]", "6")
        page.keyboard.press("Tab")
        page.get_by_role("tab", name="What the model saw").click()
        for picture, question in TURNS:
            ask(page, picture, question)
        page.mouse.move(640, 790)
        page.wait_for_timeout(1500)  # animations
        page.screenshot(path=path)
        browser.close()


def main() -> None:
    path = HERE / "demo.png"
    address: list[str] = []
    started = threading.Event()
    with internvl.pipeline("nano") as pipe:
        app = create_demo_app(pipe)

        def serve() -> None:
            run_app(app, listen("127.0.0.1", 0), on_start=lambda text: (address.append(text), started.set()))

        threading.Thread(target=serve, daemon=True).start()
        started.wait()
        photograph(address[0], path)
    Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)
    print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
