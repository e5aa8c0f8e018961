"""`internvl demo` up to the page itself."""

import importlib.util
import logging

import pytest
import typer

from internvl.cli import demo, main


def test_directories_are_shown_by_their_last_part_and_hub_ids_whole(tmp_path):
    (tmp_path / "mine").mkdir()
    names = demo.named(["nano", str(tmp_path / "mine"), "OpenGVLab/InternVL3-1B"])
    assert names == {
        "nano": "nano",
        "mine": str(tmp_path / "mine"),
        "OpenGVLab/InternVL3-1B": "OpenGVLab/InternVL3-1B",
    }


def test_two_models_of_one_name_are_refused(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder / "mine").mkdir(parents=True)
    with pytest.raises(typer.BadParameter, match="two models are named mine"):
        demo.named([str(tmp_path / "a" / "mine"), str(tmp_path / "b" / "mine")])


def test_models_are_loaded_when_they_are_asked_for(monkeypatch):
    loaded = []
    monkeypatch.setattr(
        demo, "open_pipeline", lambda model, options: loaded.append((model, options)) or "pipe"
    )
    shelf = demo.make_shelf({"a": "path/a", "b": "path/b"}, {"dtype": "auto"})
    assert loaded == []
    assert shelf.get("b") == "pipe"
    assert loaded == [("path/b", {"dtype": "auto"})]


def test_adapters_are_offered_beside_the_models_and_loaded_with_the_first(monkeypatch):
    loaded = []
    monkeypatch.setattr(
        demo, "open_pipeline", lambda model, options: loaded.append((model, options)) or model
    )
    shelf = demo.make_shelf({"a": "path/a", "b": "path/b"}, {}, {"mine": "folder"})
    assert shelf.names == ("a", "b", "mine")
    assert shelf.get("mine") == shelf.get("a") == "path/a"
    assert loaded == [("path/a", {"adapters": {"mine": "folder"}})]
    assert [shelf.adapter(name) for name in shelf.names] == [None, None, "mine"]
    assert shelf.is_loaded("mine")
    assert not shelf.is_loaded("b")


def test_an_adapter_with_a_models_name_is_refused(capsys):
    assert main.run(["demo", "nano", "--adapter", "nano=folder"]) == 2
    assert "a model has that name" in capsys.readouterr().err


def test_without_gradio_the_error_names_the_command_that_installs_it(monkeypatch, capsys):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "gradio" else find(name, *rest)
    )
    assert main.run(["demo"]) == 1
    assert "pip install 'internvl[demo]'" in capsys.readouterr().err


def run_to_the_server(monkeypatch, *arguments):
    """Run the command until it would serve; return what it would serve with."""
    seen = {}
    monkeypatch.setattr(demo, "open_pipeline", lambda model, options: FakePipeline())
    monkeypatch.setattr("internvl.demo.app.require_gradio", lambda: None)
    monkeypatch.setattr("internvl.demo.app.create_demo_app", lambda shelf, **options: seen.update(options))
    monkeypatch.setattr(
        "internvl.demo.app.listen", lambda *address: seen.update(address=address) or FakeSocket()
    )
    monkeypatch.setattr("internvl.demo.app.run_app", lambda app, listening, **options: seen.update(options))
    assert main.run(["demo", *arguments]) == 0
    return seen


class FakeSocket:
    def close(self):
        pass


class FakePipeline:
    def close(self):
        pass


def test_by_default_only_this_machine_is_served(monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        seen = run_to_the_server(monkeypatch)
    assert seen["address"] == ("127.0.0.1", 7860)
    assert "127.0.0.1" in seen["allowed_hosts"]
    assert not caplog.records


def test_a_wider_address_is_warned_about(monkeypatch, caplog):
    with caplog.at_level(logging.WARNING):
        seen = run_to_the_server(monkeypatch, "--host", "0.0.0.0", "--port", "0", "--max-image-mpx", "5")
    assert seen["allowed_hosts"] == ()
    assert seen["limits"].max_pixels == 5_000_000
    assert "without a password" in caplog.text


def test_the_address_is_printed_and_opened_only_when_asked(monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(demo.webbrowser, "open", opened.append)
    demo._announce("http://127.0.0.1:7860/", open_browser=False)
    assert opened == []
    demo._announce("http://127.0.0.1:7860/", open_browser=True)
    assert opened == ["http://127.0.0.1:7860/"]
    assert "The demo is at http://127.0.0.1:7860/" in capsys.readouterr().out
