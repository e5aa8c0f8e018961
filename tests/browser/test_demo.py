"""The demo as people meet it: in a browser, with mouse, keyboard and files."""

import itertools
import json
from functools import partial
from importlib.resources import files

import pytest

pytest.importorskip("gradio", reason="no gradio (pip install 'internvl[demo]')")

from demo_browser import Window, chromium, running_demo
from internvl.chat.pipeline import pipeline
from internvl.demo.app import mount_demo
from internvl.demo.models import ModelShelf
from internvl.errors import CapacityError
from internvl.server.app import create_app
from internvl.server.config import ServerConfig
from scripted_engine import ScriptedEngine, scripted_pipeline
from server_client import served
from tiny_clips import write_clip
from tiny_engines import picture, tiny_engine

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning:gradio"),
]

HOSTILE = """<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">
![picture](http://elsewhere.example/x.png?secret) [click](javascript:window.hacked=3)
<iframe src="http://elsewhere.example/"></iframe> `<b>code</b>` **bold** \\` <img src=y onerror="window.hacked=4"> `
<a href="x" onmouseover="window.hacked=5">over</a> <style>body{display:none}</style>"""


@pytest.fixture(scope="module")
def engine():
    return ScriptedEngine(
        {
            "What": "A very small cat.",
            "again": "A second answer.",
            "Where": "<ref>It</ref><box>[[100, 100, 600, 900]]</box> is here.",
            "hostile": HOSTILE,
            "full": CapacityError("32 answers <b>are open</b>; try again later"),
            "long": Numbers(),
        },
        seconds_per_word=0.02,
    )


class Numbers:
    """Every iteration counts from the start."""

    def __iter__(self):
        return (f"n{number}" for number in itertools.count())


@pytest.fixture(scope="module")
def browser():
    with chromium() as made:
        yield made


@pytest.fixture(scope="module")
def address(engine):
    with running_demo(scripted_pipeline(engine)) as made:
        yield made


@pytest.fixture
def open_window(browser, address):
    """Open windows; afterwards no script must have failed and nothing must have been asked of anywhere else."""
    windows = []

    def open_one(**options):
        windows.append(Window(browser, address, **options))
        return windows[-1]

    yield open_one
    for window in windows:
        window.close()
    for window in windows:
        assert window.outside == []
        assert window.errors == []


@pytest.fixture
def photos(tmp_path):
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for n, path in enumerate(paths):
        picture(160, 120, seed=n).save(path)
    return paths


def test_upload_ask_second_turn_reload_third_turn(open_window, photos, engine):
    window = open_window()
    window.ask("What is it?", photos[0], photos[1])
    assert window.answers.first.inner_text() == "A very small cat."
    assert window.page.locator("#chat .user img").count() == 2
    assert window.page.locator("#seen figure").count() == 2
    tiles = int(window.page.locator(".facts dd").first.inner_text())
    assert window.page.locator("#seen img").count() == tiles > 2
    window.ask("And again?")
    assert "A second answer." in window.page.locator("#chat").inner_text()

    window.page.reload()
    window.ready()
    assert window.answers.count() == 2
    assert window.page.locator("#chat .user img").count() == 2
    assert window.page.locator(".facts dd").count() == 6
    while not engine.asked.empty():
        engine.asked.get()
    window.ask("What now?", photos[2])
    messages = engine.asked.get()
    assert [message["role"] for message in messages] == ["user", "assistant"] * 2 + ["user"]
    assert [part["type"] for part in messages[0]["content"]] == ["image", "image", "text"]
    assert [part["type"] for part in messages[4]["content"]] == ["image", "text"]


def test_an_answer_grows_and_stop_ends_it(open_window, engine):
    window = open_window()
    window.message.fill("long")
    window.message.press("Enter")
    window.page.get_by_text("n5", exact=False).first.wait_for()
    assert engine.num_running == 1
    seen = window.answers.first.inner_text()
    window.wait(lambda: len(window.answers.first.inner_text()) > len(seen))
    window.page.locator("#composer .stop-button").click()
    window.idle()
    window.wait(lambda: engine.num_running == 0)
    assert window.page.locator("#chat .bot.message").last.inner_text().startswith("stopped · ")
    window.ask("And again?")  # the conversation goes on


def test_escape_stops_and_a_closed_window_frees_the_engine(open_window, engine):
    window = open_window()
    for leave in (lambda: window.page.keyboard.press("Escape"), lambda: window.page.goto("about:blank")):
        window.message.fill("long")
        window.message.press("Enter")
        window.wait(lambda: engine.num_running == 1)
        window.wait(lambda: "n3" in window.answers.last.inner_text())
        leave()
        window.wait(lambda: engine.num_running == 0)
    window.outside.clear()


def test_errors_are_shown_and_the_question_is_given_back(open_window, photos):
    window = open_window()
    window.add(photos[0])
    window.message.fill("full")
    window.message.press("Enter")
    toast = window.page.locator(".toast-wrap")
    toast.get_by_text("32 answers <b>are open</b>; try again later").wait_for()
    assert window.page.locator(".toast-wrap b").count() == 0
    window.idle()
    assert window.message.input_value() == "full"
    assert window.page.locator("#composer img").count() == 1
    assert window.page.locator("#chat .message").count() == 0


def test_a_file_that_is_no_picture_is_refused_by_name(open_window, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n nothing")
    window = open_window()
    window.page.set_input_files("#composer input[type=file]", str(tmp_path / "broken.png"))
    window.page.locator("#composer .thumbnail-item").wait_for()
    window.message.fill("What is it?")
    window.message.press("Enter")
    window.page.locator(".toast-wrap").get_by_text("broken.png").wait_for()


def test_edit_and_regenerate(open_window, photos):
    window = open_window()
    window.ask("What is it?", photos[0])
    window.ask("And what?")
    window.page.get_by_role("button", name="Retry").click()
    window.idle()
    window.wait(lambda: window.answers.count() == 2)
    window.page.get_by_role("button", name="Edit").first.click()
    editor = window.page.locator("#chat textarea").first
    editor.fill("And again?")
    window.page.get_by_role("button", name="Submit", exact=True).first.click()
    window.page.locator("#chat").get_by_text("A second answer.").wait_for()
    window.idle()
    assert window.answers.count() == 1
    assert window.page.locator("#chat .user img").count() == 1
    assert window.questions.first.inner_text() == "And again?"


def test_named_regions_are_drawn_over_the_picture(open_window, photos):
    window = open_window()
    window.ask("Where is it?", photos[0])
    assert window.answers.first.inner_text() == "It [1] is here."
    marked = window.page.locator("#chat .bot img")
    assert marked.get_attribute("alt") == "The picture with the named regions"
    window.wait(lambda: marked.evaluate("image => image.naturalWidth") == 160)


def test_a_video_is_shown_as_its_frames(open_window, tmp_path, engine):
    clip = write_clip(tmp_path / "clip.mp4", 24)
    window = open_window()
    window.page.set_input_files("#composer input[type=file]", str(clip))
    window.page.locator("#composer .thumbnail-item").wait_for()
    window.ask("What happens?")
    assert window.page.locator("#chat .user img").get_attribute("alt") == "Video 1"
    assert window.page.locator("#seen figure img").count() == 8


def test_what_a_model_says_cannot_touch_the_page_or_fetch_anything(open_window):
    window = open_window()
    window.ask("hostile")
    text = window.answers.first.inner_text()
    assert "<script>window.hacked = 1</script>" in text
    assert window.page.locator("#chat strong").inner_text() == "bold"
    assert window.page.locator("#chat .bot :is(iframe, script, style, img, [onmouseover])").count() == 0
    window.page.locator("#chat .bot a").first.click()
    window.page.wait_for_timeout(500)
    assert window.page.evaluate("window.hacked") is None


def test_new_conversation_forgets_everything(open_window, photos):
    window = open_window()
    window.ask("What is it?", photos[0])
    window.page.locator("#new-button").click()
    window.page.locator("#chat .example").first.wait_for()
    assert window.page.locator("#seen img").count() == 0
    window.page.reload()
    window.page.locator("#chat .example").first.wait_for()


def test_an_example_asks(open_window):
    window = open_window()
    window.page.locator("#chat .example").first.click()
    window.page.locator("#chat").get_by_text("A very small cat.").wait_for()
    window.idle()
    assert window.page.locator("#chat .user img").count() == 1


def test_the_conversation_can_be_saved_and_the_question_copied_as_code(open_window, photos):
    window = open_window()
    window.ask("What is it?", photos[0])
    window.tab("Save")
    with window.page.expect_download() as download:
        window.page.locator("#save-json").click()
    data = json.loads(download.value.path().read_text())
    assert data["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    with window.page.expect_download() as download:
        window.page.locator("#save-markdown").click()
    assert download.value.suggested_filename.endswith(".md")
    assert "A very small cat." in download.value.path().read_text()
    window.tab("Code")
    window.page.locator("#code").get_by_text("curl").first.wait_for()
    window.page.get_by_text("Python, internvl").click()
    window.page.locator("#code").get_by_text("internvl").first.wait_for()


def test_settings_reach_the_model(open_window, engine):
    window = open_window()
    while not engine.asked.empty():
        engine.asked.get()
    window.tab("Settings")
    window.page.locator("#system textarea").fill("Be brief.")
    window.ask("What is it?")
    assert engine.asked.get()[0] == {"role": "system", "content": "Be brief."}


def test_the_page_speaks_the_browsers_language_and_the_menus(open_window):
    window = open_window(locale="de-DE")
    assert window.page.get_by_role("tab", name="Einstellungen").count() == 1
    assert window.message.get_attribute("placeholder") == "Fragen Sie etwas"
    window.page.locator("#language-menu").select_option("ar")
    window.page.locator("html[dir=rtl]").wait_for()
    window.ready()
    assert window.page.get_by_role("tab", name="الإعدادات").count() == 1
    left = window.page.locator("#side").bounding_box()["x"]
    assert left < window.page.locator("#talk").bounding_box()["x"]
    window.message.fill("full")
    window.message.press("Enter")
    window.page.locator(".toast-title").get_by_text("لم ينجح ذلك").wait_for()


def test_dark_and_light_follow_the_system_until_somebody_chooses(open_window):
    window = open_window(color_scheme="dark")
    assert window.page.locator("body.dark").count() == 1
    window.page.locator("#theme-button").click()
    assert window.page.locator("body.dark").count() == 0
    window.page.reload()
    window.ready()
    assert window.page.locator("body.dark").count() == 0


def test_a_phone_shows_everything_without_scrolling_sideways(open_window, photos):
    window = open_window(viewport={"width": 360, "height": 640}, is_mobile=True, has_touch=True)
    window.ask("What is it?", photos[0])
    assert window.page.evaluate("document.documentElement.scrollWidth") <= 360
    box = window.page.locator("#composer").bounding_box()
    assert box["y"] + box["height"] <= 640
    window.page.locator("#seen img").first.scroll_into_view_if_needed()
    assert window.page.locator("#seen img").first.is_visible()


def test_the_keyboard_alone_is_enough(open_window):
    window = open_window()
    press = window.page.keyboard.press
    focused = "(e => e.id || e.getAttribute('aria-label') || e.tagName)(document.activeElement)"
    assert window.page.evaluate(focused) == "TEXTAREA"  # one can type at once
    window.page.keyboard.type("What is it?")
    press("Enter")
    window.answers.first.wait_for()
    window.idle()
    seen = set()
    for _ in range(60):
        press("Tab")
        seen.add(window.page.evaluate(focused))
    for place in (
        "skip-link",
        "theme-button",
        "language-menu",
        "camera-button",
        "new-button",
        "Upload a file",
    ):
        assert place in seen, seen
    assert "download" not in seen
    window.page.locator("#skip-link").focus()
    press("Enter")
    assert window.page.evaluate(focused) == "TEXTAREA"
    window.page.get_by_role("tab", name="What the model saw").focus()
    press("Enter")
    assert window.page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_a_pasted_picture_is_added(open_window, photos):
    window = open_window()
    window.message.focus()
    data = list(photos[0].read_bytes())
    window.page.evaluate(
        """data => {
            const files = new DataTransfer();
            files.items.add(new File([new Uint8Array(data)], "pasted.png", { type: "image/png" }));
            const event = new ClipboardEvent("paste", { clipboardData: files, bubbles: true, cancelable: true });
            document.querySelector("#composer textarea").dispatchEvent(event);
        }""",
        data,
    )
    window.page.locator("#composer img").wait_for()


def test_the_camera_takes_a_picture(open_window):
    window = open_window(permissions=["camera"])
    window.page.locator("#camera-button").click()
    window.page.locator("#camera video").wait_for(state="attached")
    window.page.locator("#camera").get_by_role("button").first.click()
    window.page.wait_for_timeout(2000)
    window.page.locator("#camera").get_by_role("button", name="capture").first.click()
    window.page.locator("#composer img").wait_for()


def test_the_model_that_is_chosen_answers(browser):
    engines = {name: ScriptedEngine({"Who": f"I am {name}."}) for name in ("one", "two")}
    loaders = {name: partial(scripted_pipeline, engine) for name, engine in engines.items()}
    with running_demo(ModelShelf(loaders)) as address:
        window = Window(browser, address)
        window.ask("Who are you?")
        window.tab("Settings")
        window.page.locator("#model input").click()
        window.page.get_by_role("option", name="two").click()
        window.ask("Who are you?")
        texts = [answer.strip() for answer in window.answers.all_inner_texts()]
        assert texts == ["I am one.", "I am two."]
        window.close()


def test_the_page_works_beside_the_api(browser, engine, photos):
    app = create_app(tiny_engine(), ServerConfig())
    mount_demo(app, scripted_pipeline(engine))
    with served(app) as address:
        window = Window(browser, f"{address}/demo/")
        window.ask("Where is it?", photos[0])
        assert window.answers.first.inner_text().strip() == "It [1] is here."
        tile = window.page.locator("#seen img").first
        window.wait(lambda: tile.evaluate("image => image.naturalWidth") > 0)
        window.tab("Save")
        with window.page.expect_download() as download:
            window.page.locator("#save-json").click()
        assert json.loads(download.value.path().read_text())["messages"]
        models = window.page.evaluate("fetch('/v1/models').then(response => response.json())")
        assert models["data"][0]["id"] == "internvl"
        assert window.outside == window.errors == []
        window.close()


def test_the_bundled_model_answers(browser, tmp_path):
    example = files("internvl.demo").joinpath("examples/object.png")
    (tmp_path / "object.png").write_bytes(example.read_bytes())
    with pipeline("nano") as pipe, running_demo(pipe) as address:
        window = Window(browser, address)
        window.ask("What is this?", tmp_path / "object.png")
        (expected,) = pipe.engine.generate([[{"role": "user", "content": _about(tmp_path / "object.png")}]])
        assert window.answers.first.inner_text().strip() == expected.text
        window.ask("What color is it?")
        # the picture was not looked at again
        assert pipe.engine.stats().picture_hits >= 1
        assert window.outside == window.errors == []
        window.close()


def _about(path):
    return [{"type": "image", "image": str(path)}, {"type": "text", "text": "What is this?"}]
