"""The program and its settings: commands, `--help`, every mistake is named at once, and secrets stay secret."""

import re
from importlib.util import find_spec
from pathlib import Path
from subprocess import run

import pytest
import typer
from typer.testing import CliRunner

from incident_risk import COMMANDS, HIDDEN, app
from schemas.errors import ArtifactError, SettingsError
from streaming.settings import Settings, environment_names, secret_names
from tests.harness.processes import run_python

ROOT = Path(__file__).parents[2]
NAMES = {name for group in COMMANDS.values() for name in group}


def below(command, words):
    """Each command, with the words that call it."""
    for name, each in getattr(command, "commands", {}).items():
        yield from below(each, (*words, name))
    if not hasattr(command, "commands"):
        yield words, command


EVERY = [of for of in below(typer.main.get_command(app), ()) if of[0][0] not in HIDDEN]
MEANS = {("train", "out"): "RISK_ARTIFACTS"}  # an option of another name than its setting
# An option that has a setting's name, and why the environment is not its default.
OTHER = {("train", "master"): "training on several machines has nothing to do with where the job runs"}


def invoked(*words, **environment):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "200"} | environment)


def test_an_option_for_what_a_setting_says_takes_it_and_its_default_from_the_environment():
    named = {field: name for name, field in environment_names().items()}
    wanted, have = {}, {}
    for words, command in EVERY:
        for option in command.params:
            key = (*words, option.name)
            have[key], wanted[key] = option.envvar, MEANS.get(key) or (None if key in OTHER else named.get(option.name))
            if option.envvar and words[0] != "simulate-feedback":  # which has a sample beside it
                assert option.default == Settings.model_fields[environment_names()[option.envvar]].default
    assert have == wanted
    assert sum(map(bool, have.values())) >= 8


@pytest.mark.parametrize(
    ("environment", "options", "looked_at"),
    [
        ({}, (), "data/artifacts"),
        ({"RISK_ARTIFACTS": ""}, (), "data/artifacts"),
        ({"RISK_ARTIFACTS": "elsewhere"}, (), "elsewhere"),
        ({"RISK_ARTIFACTS": "elsewhere"}, ("--artifacts", "here"), "here"),
    ],
)
@pytest.mark.parametrize("command", [("explain", "--cell", "r000c000"), ("posts", "--units", "3")])
def test_an_option_wins_over_the_environment(command, environment, options, looked_at, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = invoked(*command, "--region", "town", *options, **environment)
    assert isinstance(ran.exception, ArtifactError)
    assert str(ran.exception).startswith(f"{looked_at} is not a folder")


@pytest.mark.parametrize("asked", [[], ["--help"]], ids=["alone", "--help"])
def test_risk_shows_every_command_with_a_line_of_its_own_and_loads_none(asked):
    shown = invoked(*asked).output
    for group, commands in COMMANDS.items():
        assert re.search(rf"^ *{group} *$", shown, re.MULTILINE)
        for name, (does, _) in commands.items():
            assert re.search(rf"^ +{name} +{re.escape(does)} *$", shown, re.MULTILINE), name
    assert not any(re.search(rf"^ +{name} ", shown, re.MULTILINE) for name in HIDDEN)
    heavy = "{'torch', 'pyspark', 'numpy', 'kafka', 'fastapi'}"
    loaded = run_python("-c", f"import sys, incident_risk; print(sorted({heavy} & sys.modules.keys()))")
    assert loaded.stdout.strip() == "[]"


def test_an_unknown_word_names_the_nearest_command():
    for word, nearest in (("promot", "promote"), ("evalute", "evaluate"), ("dokument", "documents")):
        ran = invoked(word, "--any", "thing")
        assert ran.exit_code == 2
        assert f"No such command '{word}'." in ran.output
        assert f"'{nearest}'" in ran.output
    assert "Did you mean" not in invoked("nonsense").output


@pytest.mark.parametrize("words", [words for words, _ in EVERY], ids=" ".join)
def test_help_shows_every_word_of_every_option(words):
    (command,) = (each for of, each in EVERY if of == words)
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "400"}).output
    shown = " ".join(re.sub("[│╭╰─]", " ", shown).split())
    for option in command.params:
        assert " ".join((getattr(option, "help", "") or "").replace("[\\[", "[[").split()) in shown


def test_every_command_is_named_once():
    assert len(NAMES) == sum(map(len, COMMANDS.values())) <= 29
    assert not NAMES & HIDDEN.keys()


def test_an_empty_environment_gives_the_defaults():
    assert Settings.from_environment({}) == Settings()
    assert Settings.from_environment({"PATH": "/bin", "KAFKA_HOME": "/opt"}) == Settings()


def test_values_come_from_the_environment_and_options_win():
    environment = {"RISK_TOPIC": "calls", "RISK_TRIGGER_S": "2", "INFLUXDB_V2_ORG": "city"}
    settings = Settings.from_environment(environment).with_options(topic="other", trigger_s=None)
    assert (settings.topic, settings.trigger_s, settings.influx_org) == ("other", 2.0, "city")


@pytest.mark.fault("F33")
@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("RISK_TRIGER_S", "1", r"RISK_TRIGER_S is not a setting: did you mean RISK_TRIGGER_S\?"),
        ("RISK_DEAD_LETTER_TOPIC", "incidents.v1", "RISK_TOPIC and RISK_DEAD_LETTER_TOPIC are both"),
        ("INFLUXDB_V2_BUKET", "b", "did you mean INFLUXDB_V2_BUCKET"),
        ("RISK_TOPIC", "incidents.v1.dlq", "RISK_TOPIC and RISK_DEAD_LETTER_TOPIC are both"),
        *(("RISK_TRIGGER_S", seconds, "RISK_TRIGGER_S") for seconds in ("nan", "inf", "-1", "61")),
        *(("RISK_METRICS", f"127.0.0.1{port}", "RISK_METRICS") for port in ("", ":0", ":65536", ":99999")),
        *(("RISK_METRICS", address, "RISK_METRICS") for address in (":9464", "a b:1")),
        ("RISK_DRIVER_MEMORY", "511m", "511m is less than Spark starts with: give at least 512m"),
    ],
)
def test_a_name_or_a_value_that_cannot_be_is_refused(name, value, text):
    with pytest.raises(SettingsError, match=text):
        Settings.from_environment({name: value})


@pytest.mark.fault("F33")
def test_an_unknown_setting_like_no_other_gets_no_guess():
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"RISK_QQQQQQQQQQQQ": "1"})
    assert "did you mean" not in str(caught.value)


@pytest.mark.fault("F33")
def test_all_mistakes_are_listed_at_once(tmp_path):
    environment = {
        "RISK_TOPPIC": "x",
        "RISK_TRIGGER_S": "-1",
        "RISK_CLOCK": "sundial",
        "RISK_DRIVER_MEMORY": "lots",
        "INFLUXDB_V2_TOKEN_FILE": str(tmp_path / "missing"),
    }
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment(environment)
    message = str(caught.value)
    for name in environment:
        assert name in message
    assert caught.value.exit_code == 2


def test_every_setting_has_a_description():
    assert all(field.description for field in Settings.model_fields.values())


def test_settings_of_the_stores_own_client_are_not_refused():
    own = {"INFLUXDB_V2_TIMEOUT": "6000", "INFLUXDB_V2_VERIFY_SSL": "1", "INFLUXDB_V2_CONNECTION_POOL_MAXSIZE": "4"}
    assert Settings.from_environment(own) == Settings()


def test_what_is_shown_of_the_settings_has_no_secret():
    url = "https://me:pa55@influx.example.org/x"
    environment = {"INFLUXDB_V2_TOKEN": "s3cret", "INFLUXDB_V2_URL": url, "RISK_TRIGGER_S": "2"}
    settings = Settings.from_environment(environment)
    shown = settings.shown()
    assert shown.keys() == environment_names().keys()
    assert (shown["INFLUXDB_V2_TOKEN"], shown["INFLUXDB_V2_URL"]) == ("(set)", "https://***@influx.example.org/x")
    assert (shown["RISK_TRIGGER_S"], shown["RISK_CLOCK"]) == ("2.0", "wall")
    assert Settings().shown()["INFLUXDB_V2_TOKEN"] == ""
    assert settings.without_secrets("refused s3cret, twice s3cret") == "refused ***, twice ***"
    assert Settings().without_secrets("no secret is set") == "no secret is set"


def test_the_secrets_are_known_by_name():
    assert secret_names() == {"INFLUXDB_V2_TOKEN", "RISK_ARCHIVE_STORAGE", "RISK_KAFKA_PASSWORD"}


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"INFLUXDB_V2_TOKEN": "hidden", "RISK_TRIGGER_S": "-1"}, "RISK_TRIGGER_S"),
        ({"INFLUXDB_V2_TOKEN_FILE": "hidden"}, "INFLUXDB_V2_TOKEN_FILE"),  # the secret itself, not its file
        ({"INFLUXDB_V2_TOKEN": "hiddenü"}, "INFLUXDB_V2_TOKEN: .*not ASCII"),  # no header carries it
        *(
            ({name: f"hidden{sign}hidden"}, f"{name}: .*give it on one line")
            for name in ("INFLUXDB_V2_TOKEN", "RISK_KAFKA_PASSWORD")
            for sign in "\n\x00\t"
        ),
        *(
            ({"RISK_ARCHIVE_STORAGE": text}, "RISK_ARCHIVE_STORAGE: is not KEY=VALUE")
            for text in ("hidden", "=hidden", "KEY=", "KEY=x,hidden")
        ),
    ],
)
def test_a_secret_that_is_refused_is_not_repeated(environment, said):
    with pytest.raises(SettingsError, match=said) as caught:
        Settings.from_environment(environment)
    assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("name", ["INFLUXDB_V2_TOKEN", "RISK_KAFKA_PASSWORD"])
def test_a_secret_may_stand_in_a_file_and_loses_the_line_break_at_its_end_alone(name, tmp_path):
    file = tmp_path / "secret"
    file.write_text("canary\n", encoding="utf-8")
    for given in ({name: " canary\r\n"}, {f"{name}_FILE": str(file)}):
        settings = Settings.from_environment(given)
        assert getattr(settings, environment_names()[name]).get_secret_value() == "canary"
        for text in (repr(settings), str(settings), settings.model_dump_json()):
            assert "canary" not in text
    file.write_text("can\nary", encoding="utf-8")
    with pytest.raises(SettingsError, match=f"{name}: .*give it on one line"):
        Settings.from_environment({f"{name}_FILE": str(file)})


@pytest.mark.parametrize("secret", ["canary", "can'ary", 'can"a\\ry', "canäry"])
def test_a_secret_is_hidden_as_it_is_and_as_python_quotes_it(secret):
    settings = Settings.from_environment({"RISK_KAFKA_PASSWORD": secret})
    shown = settings.without_secrets(f"wrong: {secret}, {secret!r}, {[secret]}")
    assert secret not in shown
    assert repr(secret)[1:-1] not in shown


def test_the_values_of_the_archives_storage_are_secret_each_by_itself():
    settings = Settings.from_environment({"RISK_ARCHIVE_STORAGE": "AWS_ACCESS_KEY_ID=me, AWS_SECRET_ACCESS_KEY=a=b/c"})
    assert settings.storage_options() == {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "a=b/c"}
    assert settings.without_secrets("denied for a=b/c") == "denied for ***"
    assert settings.shown()["RISK_ARCHIVE_STORAGE"] == "(set)"
    assert Settings().storage_options() == {}


def test_a_module_that_a_script_a_playbook_or_a_message_runs_exists():
    """`python -m NAME`, in one line or two, or as words of a list. The names of the old programs stood on for days."""
    listed = run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()  # noqa: S607
    ended = (".md", ".py", ".sh", ".yml", ".yaml", ".json", ".toml", "Makefile", "Dockerfile", "Jenkinsfile")
    texts = {name: (ROOT / name).read_text(encoding="utf-8") for name in listed if name.endswith(ended)}
    rooms = {path.name for path in ROOT.iterdir() if path.is_dir()} | {"incident_risk"}
    named = {
        (name, module)
        for name, text in texts.items()
        if name != "CHANGELOG.md"
        for module in re.findall(r"\bpython\"?,?\s+\"?-m\"?,?\s+\"?([\w.]*\w)", text)
        if module.partition(".")[0] in rooms
    }
    assert ("streaming/Dockerfile", "streaming.job_health") in named
    assert [each for each in sorted(named) if not is_runnable(each[1])] == []


def is_runnable(module):
    spec = find_spec(module)
    return spec is not None and (spec.submodule_search_locations is None or find_spec(f"{module}.__main__") is not None)
