import itertools
import threading

import pytest
from PIL import Image

from internvl.demo.chat import Asker, Chat, Draft, plain_markdown
from internvl.demo.models import ModelShelf
from internvl.demo.pictures import PictureStore
from internvl.demo.settings import AskSettings
from internvl.demo.strings import Strings
from internvl.errors import CapacityError, ConfigError, RequestError
from scripted_engine import ScriptedEngine, scripted_pipeline
from tiny_clips import write_clip
from tiny_engines import picture

ASKER = Asker(window="w")
SETTINGS = AskSettings(model="test")


@pytest.fixture
def store():
    made = PictureStore()
    yield made
    made.close()


def chat_with(store, script=None, **options):
    engine = ScriptedEngine(script, **options)
    return Chat(ModelShelf({"test": lambda: scripted_pipeline(engine)}), store), engine


def upload(store, image=None, name="photo.png"):
    path = store.uploads_dir / name
    (image or picture()).save(path)
    return str(path)


def last(updates):
    *_, update = updates
    return update


def ask(chat, text="What is it?", files=(), kept=None, **settings):
    return last(chat.ask(ASKER, kept, Draft(text, tuple(files)), AskSettings(model="test", **settings)))


def test_a_question_gets_its_answer_its_cost_and_its_tiles(store):
    chat, _ = chat_with(store, {"What": "A cat it is."})
    update = ask(chat, files=[upload(store)])
    question, answer = update.conversation.turns
    assert (question.text, len(question.pictures)) == ("What is it?", 1)
    assert (answer.text, answer.finish_reason, answer.model) == ("A cat it is.", "stop", "test")
    assert answer.cost.num_tiles > 1
    assert update.seen.count("<img") == answer.cost.num_tiles
    assert not update.answering


def test_the_message_box_is_emptied_at_once_and_the_tiles_come_before_the_answers_end(store):
    chat, _ = chat_with(store)
    updates = list(chat.ask(ASKER, None, Draft("x", (upload(store),)), SETTINGS))
    assert updates[0].draft == Draft()
    assert updates[0].answering
    assert any(update.seen and update.answering for update in updates)


def test_an_answer_grows_on_the_page_however_fast_its_words_come(store):
    chat, _ = chat_with(store, {"x": "a b c d e f g h i j k l m n o p"}, seconds_per_word=0.02)
    updates = chat.ask(ASKER, None, Draft("x"), SETTINGS)
    texts = [update.conversation.turns[-1].text for update in updates if len(update.conversation.turns) == 2]
    assert len(set(texts)) > 3
    assert len(texts) < 16


def test_a_model_that_has_to_be_loaded_first_is_announced(store):
    chat, _ = chat_with(store)
    notices = [[update.notice for update in chat.ask(ASKER, None, Draft("x"), SETTINGS)] for _ in range(2)]
    assert "Loading test …" in notices[0]
    assert set(notices[1]) == {None}


def test_the_second_turn_shows_the_model_the_whole_conversation(store):
    chat, engine = chat_with(store)
    first = ask(chat, files=[upload(store)])
    ask(chat, "And now?", kept=first.conversation.to_json(), system="Be brief.", max_tiles=2)
    engine.asked.get()
    messages = engine.asked.get()
    assert [message["role"] for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[1]["content"][0]["max_tiles"] == 2
    assert messages[3]["content"] == "And now?"


def test_asking_again_replaces_the_answer_and_lets_go_what_followed(store):
    chat, _ = chat_with(store, {"two": "2", "one": "1"})
    kept = ask(chat, "one").conversation.to_json()
    kept = ask(chat, "two", kept=kept).conversation.to_json()
    assert [turn.text for turn in last(chat.ask_again(ASKER, kept, 1, SETTINGS)).conversation.turns] == [
        "one",
        "1",
    ]
    edited = last(chat.ask_again(ASKER, kept, 0, SETTINGS, "two?")).conversation
    assert [turn.text for turn in edited.turns] == ["two?", "2"]


def test_editing_a_question_keeps_its_pictures(store):
    chat, _ = chat_with(store)
    first = ask(chat, files=[upload(store)]).conversation
    edited = last(chat.ask_again(ASKER, first.to_json(), 0, SETTINGS, "Other words")).conversation
    assert edited.turns[0].pictures == first.turns[0].pictures


def test_a_question_cannot_be_edited_to_nothing(store):
    chat, _ = chat_with(store)
    kept = ask(chat).conversation
    update = last(chat.ask_again(ASKER, kept.to_json(), 0, SETTINGS, "  "))
    assert update.problem == Strings()("ask_something")
    assert update.conversation == kept


def test_what_fails_is_forgotten_and_goes_back_into_the_message_box(store):
    chat, _ = chat_with(
        store, {"full": CapacityError("try again later"), "broken": RuntimeError("secret path")}
    )
    kept = ask(chat, "fine").conversation
    file = upload(store)
    for text, problem in (("full", "try again later"), ("broken", Strings()("failed_inside"))):
        update = ask(chat, text, [file], kept.to_json())
        assert update.conversation == kept
        assert update.draft == Draft(text, (file,))
        assert update.problem == problem
        assert not update.answering


@pytest.mark.parametrize(
    "problem", ["broken upload", "not an upload", "too many", "unknown model", "nothing"]
)
def test_every_way_to_ask_wrongly_ends_in_a_message(store, tmp_path, problem):
    chat, engine = chat_with(store)
    files, text, settings = (), "x", SETTINGS
    if problem == "broken upload":
        (store.uploads_dir / "x.png").write_bytes(b"no picture")
        files = (str(store.uploads_dir / "x.png"),)
    elif problem == "not an upload":
        picture().save(tmp_path / "private.png")
        files = (str(tmp_path / "private.png"),)
    elif problem == "too many":
        files = (upload(store),) * 100
    elif problem == "unknown model":
        settings = AskSettings(model="../../etc")
    else:
        text = "  \n"
    update = last(chat.ask(ASKER, None, Draft(text, files), settings))
    assert update.problem
    assert not update.conversation
    assert not update.answering
    assert engine.asked.empty()


def test_stop_keeps_what_was_said_and_says_so(store):
    chat, _ = chat_with(store, {"long": (str(n) for n in itertools.count())}, seconds_per_word=0.001)
    updates = []
    for update in chat.ask(ASKER, None, Draft("long"), SETTINGS):
        updates.append(update)
        if len(updates[-1].conversation.turns) == 2:
            chat.stop(ASKER)
    answer = updates[-1].conversation.turns[-1]
    assert answer.finish_reason == "abort"
    assert answer.text.startswith("0")
    messages = chat.drawn(updates[-1].conversation, Strings())
    assert messages[-1]["content"][-1].startswith("stopped · ")


def test_stop_before_the_first_word_gives_the_question_back(store):
    chat, _ = chat_with(store, seconds_per_word=60)
    updates = chat.ask(ASKER, None, Draft("slow"), SETTINGS)
    next(updates)
    threading.Timer(0.2, chat.stop, (ASKER,)).start()
    update = last(updates)
    assert not update.conversation
    assert update.draft == Draft("slow")
    assert update.problem is None


def test_a_kept_conversation_that_cannot_be_read_is_a_new_one_and_says_so(store):
    chat, _ = chat_with(store)
    update = chat.restore(ASKER, {"version": 1, "turns": "hostile"})
    assert not update.conversation
    assert update.problem == Strings()("kept_unreadable")


def test_pictures_that_are_gone_are_named_and_questions_about_them_refused(store):
    chat, _ = chat_with(store)
    kept = ask(chat, files=[upload(store)]).conversation
    other = PictureStore()
    later, _ = chat_with(other)
    (question, _) = later.drawn(kept, Strings())
    assert question["content"][0] == "*Picture 1: picture no longer on the server*"
    update = last(later.ask(ASKER, kept.to_json(), Draft("And?"), SETTINGS))
    assert "no longer on the server" in update.problem
    assert update.conversation == kept
    other.close()


def test_boxes_are_drawn_over_the_picture_when_the_answer_is_whole(store):
    chat, _ = chat_with(store, {"Where": "<ref>It</ref><box>[[100, 100, 900, 900]]</box> is here."})
    conversation = ask(chat, "Where?", [upload(store, Image.new("RGB", (200, 100)))]).conversation
    text, marked, _ = chat.drawn(conversation, Strings())[-1]["content"]
    assert text == "It [1] is here."
    with Image.open(marked["path"]) as image:
        assert image.convert("RGB").getcolors() != [(200 * 100, (0, 0, 0))]
    assert len(chat.drawn(conversation, Strings(), complete=False)[-1]["content"]) == 1
    assert marked["path"].startswith(str(store.shown_dir))


def test_a_video_is_asked_about_like_a_picture_and_its_frames_are_shown(store):
    chat, engine = chat_with(store, {"Where": "<box>[[1,1,9,9]]</box>"})
    clip = write_clip(store.uploads_dir / "clip.mp4", 24)
    conversation = ask(chat, files=[str(clip), upload(store)]).conversation
    assert conversation.turns[1].cost.num_pictures == 9
    (messages,) = [engine.asked.get()]
    assert [part["type"] for part in messages[0]["content"]] == ["video", "image", "text"]
    later = ask(chat, "Where?", [str(clip)], conversation.to_json())
    assert later.seen.count("<figure") == 3
    assert later.seen.index("Video 3") < later.seen.index("Picture 2") < later.seen.index("Video 1")
    names = [part["alt_text"] for part in chat.drawn(later.conversation, Strings())[0]["content"][:2]]
    assert names == ["Video 1", "Picture 2"]
    # a box is a place in a picture: the last one, not the video
    assert len(chat.drawn(later.conversation, Strings())[-1]["content"]) == 3


def test_a_later_answer_may_name_regions_of_an_earlier_picture(store):
    chat, _ = chat_with(store, {"Where": "<box>[[100, 100, 900, 900]]</box>"})
    kept = ask(chat, files=[upload(store)]).conversation.to_json()
    conversation = ask(chat, "Where?", kept=kept).conversation
    assert len(chat.drawn(conversation, Strings())[-1]["content"]) == 3


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("<script>x</script>", "&lt;script>x&lt;/script>"),
        ("![x](http://elsewhere/x.png)", "!\\[x](http://elsewhere/x.png)"),
        ("a `<b>` c <i>", "a `<b>` c &lt;i>"),
        ("```html\n<p>\n```\n<p>", "```html\n<p>\n```\n&lt;p>"),
        ("```\n<p>", "```\n<p>"),
        ("~~~\n<p>\n~~~\n<p>", "~~~\n<p>\n~~~\n&lt;p>"),
        ("`` a`<b> `` <c>", "`` a`<b> `` &lt;c>"),
        ("\\` <b> `", "\\` &lt;b> `"),
        ("` <b>\n\n`", "` &lt;b>\n\n`"),
        ("x ``` <b>", "x ``` &lt;b>"),
        ("`" * 50 + "<b>", "`" * 50 + "&lt;b>"),
        ("**bold** and [link](https://x)", "**bold** and [link](https://x)"),
    ],
)
def test_answers_are_markdown_without_tags_and_pictures(text, shown):
    assert plain_markdown(text) == shown


def test_a_shelf_loads_a_model_once_and_knows_no_others():
    loaded = []
    shelf = ModelShelf({"a": lambda: loaded.append("a") or scripted_pipeline(ScriptedEngine())})
    assert not shelf.is_loaded("a")
    assert shelf.get("a") is shelf.get("a")
    assert loaded == ["a"]
    with pytest.raises(RequestError, match="one of a"):
        shelf.get("b")
    with pytest.raises(ConfigError):
        ModelShelf({})
    assert ModelShelf.of("c", scripted_pipeline(ScriptedEngine())).is_loaded("c")


def test_a_question_to_an_adapter_is_answered_by_its_model_with_it(store):
    engine = ScriptedEngine({"What": "A cat."})
    shelf = ModelShelf({"test": lambda: scripted_pipeline(engine)}, adapters={"mine": "test"})
    chat = Chat(shelf, store)
    asked = chat.ask(ASKER, None, Draft("What?"), AskSettings(model="mine"))
    assert last(asked).conversation.turns[-1].model == "mine"
    ask(chat)
    assert engine.adapters_asked == ["mine", None]
