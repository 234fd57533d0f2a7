"""Canaries: the password of Kafka and the token of the store are looked for wherever they could leak to."""

import os

import psutil
import pytest

from schemas.frame import frame_path

START = 1_700_000_000
EVENTS = "incidents.v1"
TOKEN = "quokka-5511-token"
# What of each stays the same however it is quoted or escaped on its way.
CANARIES = {"token": "quokka-5511", "password": "numbat"}


def found(text):
    """Names of the canaries in `text`, bytes or str, also as UTF-16, in which Java writes some strings."""
    data = text if isinstance(text, bytes) else text.encode()
    forms = {name: (word.encode(), word.encode("utf-16-le")) for name, word in CANARIES.items()}
    return sorted(name for name, words in forms.items() if any(word in data for word in words))


def leaks_of(process):
    """{what: canaries} of a running process: its command line as `ps` shows it, and its environment."""
    try:
        return {
            f"command line of {process.name()}": found("\0".join(process.cmdline())),
            f"environment of {process.name()}": found("\0".join(f"{k}={v}" for k, v in process.environ().items())),
        }
    except psutil.NoSuchProcess:
        return {}


def name_of(process):
    """None of a worker that Spark has ended meanwhile."""
    try:
        return process.name()
    except psutil.NoSuchProcess:
        return None


def leaks_below(folder):
    """{file: canaries} of every file below the folder."""
    return {str(path): found(path.read_bytes()) for path in folder.rglob("*") if path.is_file()}


def only_leaks(seen):
    return {what: canaries for what, canaries in seen.items() if canaries}


@pytest.mark.fault("F27", "F43")
@pytest.mark.parametrize("by_file", ["token", pytest.param("password", marks=pytest.mark.nightly)])
def test_no_secret_is_anywhere_but_where_it_was_given(
    by_file, kafka, new_topic, new_scorer, new_region, stub_store, tmp_path
):
    settings = kafka.settings(RISK_SINK="influxdb", INFLUXDB_V2_TOKEN=TOKEN, INFLUXDB_V2_URL=stub_store.url)
    name = {"token": "INFLUXDB_V2_TOKEN", "password": "RISK_KAFKA_PASSWORD"}[by_file]
    secret = tmp_path / "secret"
    secret.write_text(settings.pop(name) + "\n", encoding="utf-8")
    settings[f"{name}_FILE"] = str(secret)
    by_environment = "password" if by_file == "token" else "token"
    settings[{"token": "INFLUXDB_V2_TOKEN", "password": "RISK_KAFKA_PASSWORD"}[by_environment]] += "\n"

    topic, region = new_topic(EVENTS), new_region("riverton")
    scorer = new_scorer(f"canaries_{by_file}", topic, **settings)
    region.publish(scorer.artifacts)
    local, frame = scorer.folder / "spark_local", frame_path(scorer.folder / "frames", "riverton")
    local.mkdir()
    scorer.start(SPARK_LOCAL_DIRS=str(local), TMPDIR=str(local))
    topic.send([(0, region.event(1, cell=3, at_s=START + 60), (START + 60) * 1000), (0, b"rubbish", START * 1000)])
    scorer.wait_until(lambda: frame.exists() and any(b"risk," in body for body in stub_store.acknowledged))

    main = psutil.Process(scorer.process.pid)
    assert found("\0".join(main.cmdline())) == []
    assert leaks_of(main)[f"environment of {main.name()}"] == [by_environment]  # the scan can see; and we said so
    kinds = {name_of(child) for child in scorer.children} - {None}
    assert "java" in kinds
    assert len(kinds) > 1, kinds  # Python workers
    for child in scorer.children:
        assert only_leaks(leaks_of(child)) == {}
    assert only_leaks(leaks_below(scorer.folder)) == {}

    stub_store.answers.append((401, f"who is Token {TOKEN}?".encode(), {"X-Echo": TOKEN}))
    topic.send([(0, region.event(2, cell=4, at_s=START + 120), (START + 120) * 1000)])
    scorer.assert_ended(6, "INFLUXDB_V2_TOKEN", "who is Token ***?")
    seen = leaks_below(scorer.folder)
    assert only_leaks(seen) == {}
    names = {os.path.basename(path) for path in seen}
    wanted = "terminal.txt spark.log riverton.frame guard.json roster.json manifest.json metadata"
    assert set(wanted.split()) <= names
