"""`internvl serve`: what its options make of the server, without listening."""

import logging

import pytest

from internvl.checkpoint.adapters_peft import save_adapter
from internvl.checkpoint.load import load_model
from internvl.cli import main, serve
from internvl.nn.lora import LoraConfig, add_lora
from internvl.server import run
from tiny_engines import write_tiny_checkpoint


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return str(write_tiny_checkpoint(tmp_path_factory.mktemp("models") / "tiny"))


@pytest.fixture
def served(checkpoint, monkeypatch, tmp_path):
    """Run the command; return exit code, the application's configuration, its engine, and where it would listen."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)
    found = {}

    class Idle:
        def run(self):
            pass

    def make_server(app, **place):
        found.update(app=app, place=place)
        return Idle()

    monkeypatch.setattr(run, "make_server", make_server)

    def command(*options):
        code = main.run(["serve", checkpoint, "--session-len", "256", *options])
        service = found["app"].state.service if "app" in found else None
        if service is not None:
            service.data.close()
        return code, service, found.get("place")

    return command


def test_it_listens_on_this_machine_and_answers_for_its_names_only(served, tmp_path):
    code, service, place = served()
    assert code == 0
    assert (place["host"], place["port"]) == ("127.0.0.1", 23333)
    assert set(service.config.allowed_hosts) == {"localhost", "127.0.0.1", "[::1]"}
    assert service.config.model_names == ("tiny",)
    assert service.config.data_dir == tmp_path / "internvl" / "server" / "23333"
    assert service.config.allow_origins == ()


def test_options_reach_the_server_and_the_engine(served, tmp_path):
    code, service, place = served(
        *("--server-name", "0.0.0.0", "--server-port", "8000", "--model-name", "a", "--model-name", "b"),
        *("--api-keys", "alice sk-of-alice-0123,sk-other-01234", "--api-keys", "sk-third-01234"),
        *("--max-body-mb", "3", "--max-images", "2", "--max-image-mpx", "5", "--max-answer-tokens", "9"),
        *("--requests-per-minute", "7", "--max-concurrent-per-key", "2", "--max-concurrent-requests", "4"),
        *("--allowed-media-domains", "example.org", "--allow-origins", "https://a.example"),
        *("--max-batch-size", "2", "--max-tiles", "3", "--data-dir", str(tmp_path / "x"), "--log-prompts"),
        *("--cache-max-tokens", "512", "--prefill-chunk-tokens", "64", "--dtype", "bfloat16"),
    )
    config = service.config
    assert code == 0
    assert (place["host"], place["port"]) == ("0.0.0.0", 8000)
    assert config.model_names == ("a", "b")
    assert [key.name for key in config.api_keys][0] == "alice"
    assert len(config.api_keys) == 3
    assert (config.max_body_bytes, config.max_media_per_request, config.max_media_pixels) == (
        3 << 20,
        2,
        5_000_000,
    )
    assert (config.max_answer_tokens, config.requests_per_minute, config.max_concurrent_per_key) == (9, 7, 2)
    assert config.max_concurrent_requests == 4
    assert config.allowed_media_domains == ("example.org",)
    assert config.allow_origins == ("https://a.example",)
    assert config.allowed_hosts == ()
    assert config.log_prompts
    assert (service.engine.config.max_batch_size, service.engine.config.max_tiles) == (2, 3)
    engine_config = service.engine.config
    assert (engine_config.cache_max_tokens, engine_config.prefill_chunk_tokens) == (512, 64)
    assert engine_config.dtype == "bfloat16"
    assert service.engine.session_len == 256


def test_the_address_has_the_demos_names_too(served):
    _, _, place = served("--host", "::1", "--port", "8001")
    assert (place["host"], place["port"]) == ("::1", 8001)


def test_keys_come_from_the_environment_too(served, monkeypatch):
    monkeypatch.setenv(serve.KEYS_VARIABLE, "sk-first-0123, sk-second-0123")
    _, service, _ = served()
    assert len(service.config.api_keys) == 2
    assert service.config.allowed_hosts == ()  # a key keeps other web pages out


def test_listening_wider_without_keys_is_warned_about(served, caplog):
    served("--server-name", "0.0.0.0")
    assert "without API keys" in caplog.text
    caplog.clear()
    served("--server-name", "0.0.0.0", "--api-keys", "sk-01234567")
    served("--server-name", "::1")
    assert "without API keys" not in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tp", "2"], "one device"),
        (["--backend", "vllm"], "backend"),
        (["--api-keys", "short"], "at least 8"),
        (["--api-keys", "a sk-01234567", "--api-keys", "a sk-76543210"], "one name"),
        (["--api-key-file", "/nowhere"], "/nowhere"),
        (["--allow-origins", "*", "--allow-credentials"], "allow_credentials"),
        (["--demo", "--api-keys", "sk-01234567"], "asks for no key"),
        (["--server-port", "70000"], "65535"),
    ],
)
def test_what_cannot_be_is_refused_before_a_model_is_loaded(served, capsys, monkeypatch, options, message):
    monkeypatch.setattr("internvl.chat.pipeline.pipeline", lambda *_, **__: pytest.fail("loaded"))
    code, service, _ = served(*options)
    assert (code, service) == (2, None)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("model", "names"),
    [("nano", ["nano"]), ("OpenGVLab/InternVL3-2B", ["OpenGVLab/InternVL3-2B", "InternVL3-2B"])],
)
def test_a_model_is_called_by_its_id_or_the_end_of_it(model, names):
    assert serve._names_of(model) == names


def test_adapters_are_named_on_the_command_line(served, checkpoint, tmp_path, capsys):
    model = load_model(checkpoint)
    add_lora(model, LoraConfig(r=2))
    path = save_adapter(model, tmp_path / "mine")
    code, service, _ = served("--adapters", f"mine={path}", "--adapters", f"other={path}")
    assert code == 0
    assert service.all_names == ("tiny", "mine", "other")


@pytest.mark.parametrize("given", [["mine"], ["=path"], ["a=x", "a=y"]])
def test_an_adapter_without_a_name_or_with_a_taken_one_is_refused(served, given):
    options = [word for text in given for word in ("--adapters", text)]
    assert served(*options)[0] == 2
