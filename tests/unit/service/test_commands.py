"""The commands `serve` and `token`: what they refuse before anything listens, and the address that they say."""

import json
import socket

import pytest
from typer.testing import CliRunner

from incident_risk import app
from schemas.errors import SettingsError
from service.tokens import Tokens, make_token


@pytest.mark.parametrize(
    ("words", "opens"),
    [
        (("--listen", "0.0.0.0:9000"), "http://127.0.0.1:9000/"),
        (("--listen", "[::]:9000"), "http://[::1]:9000/"),
        (("--listen", "192.168.0.7:80"), "http://192.168.0.7:80/"),
    ],
)
def test_the_address_that_is_said_opens(tmp_path, monkeypatch, words, opens):
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: None)
    monkeypatch.setattr("service.cli._refuse_taken", lambda *_: None)  # the address is not this machine's
    path = tmp_path / "tokens.jsonl"
    make_token(path, "cad", [])
    ran = CliRunner().invoke(app, ["serve", "--frames", str(tmp_path), "--tokens", str(path), *words])
    assert f"the map is at {opens}, the document of the interface at {opens}openapi.json" in ran.stderr


@pytest.mark.parametrize(
    "origin", ["*", "null", "map.example.org", "https://map.example.org/", "https://*.example.org"]
)
def test_the_command_refuses_what_is_no_origin_of_a_web_app(origin):
    assert isinstance(CliRunner().invoke(app, ["serve", "--origin", origin]).exception, SettingsError)


def test_the_command_lets_the_named_origins_read(tmp_path, monkeypatch):
    served = []
    monkeypatch.setattr("uvicorn.run", lambda app, **_: served.append(app))
    monkeypatch.setattr("service.cli._refuse_taken", lambda *_: None)  # another program may be there
    named = ["http://localhost:5173", "https://map.example.org"]
    ran = CliRunner().invoke(app, ["serve", "--frames", str(tmp_path), "--origin", named[0], "--origin", named[1]])
    assert (ran.exit_code, served[0].allow_origins) == (0, named)


@pytest.mark.parametrize("listen", ["0.0.0.0:8321", "192.168.0.7:80", "8321", "127.0.0.1:0", "localhost:x"])
def test_the_command_refuses_to_answer_others_without_tokens(listen):
    ran = CliRunner().invoke(app, ["serve", "--listen", listen])
    assert isinstance(ran.exception, SettingsError)


def test_the_command_says_no_address_that_another_program_has(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = CliRunner().invoke(app, ["serve", "--frames", str(tmp_path), "--listen", listen])
    assert isinstance(ran.exception, SettingsError)
    assert f"--listen {listen}: nothing can listen there" in str(ran.exception)
    assert "the map is at" not in ran.stderr


def test_the_command_makes_a_token_and_prints_it_once(tmp_path):
    path = tmp_path / "tokens.jsonl"
    ran = CliRunner().invoke(app, ["token", "cad", "--tokens", str(path), "--region", "riverton"])
    tokens = Tokens(path)
    tokens.look()
    assert tokens.caller(ran.stdout.strip()).regions == ("riverton",)
    assert json.loads(path.read_text())["name"] == "cad"


@pytest.mark.parametrize("is_there", [True, False])
def test_the_command_says_that_no_job_has_written_frames_yet(tmp_path, monkeypatch, is_there):
    monkeypatch.setattr("uvicorn.run", lambda *_, **__: None)
    monkeypatch.setattr("service.cli._refuse_taken", lambda *_: None)
    frames = tmp_path if is_there else tmp_path / "fames"
    ran = CliRunner().invoke(app, ["serve", "--frames", str(frames)])
    assert (f"--frames {frames} is not there yet" in ran.stderr) is not is_there
