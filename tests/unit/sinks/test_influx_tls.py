"""The store over TLS: who is trusted, and what is said of a certificate that is not."""

import ssl
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from schemas.errors import SettingsError, SinkRefused, SinkUnavailable
from streaming.settings import Settings
from streaming.sinks.influx import InfluxSink
from tests.unit.sinks.test_influx_answers import CANARY, LINES, sink_for


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def served(authority, stub_store_over_tls):
    """served(name, **times): a store with a certificate for that name, as a context manager."""

    def serve(name="127.0.0.1", **times):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name, **times).configure_cert(context)
        return stub_store_over_tls(context)

    return serve


def refusal_of(store, ca):
    """What check and write say; each has to refuse at once, before the token is sent."""
    sink = sink_for(store, influx_ca=ca)
    said = []
    for act in (sink.check, lambda: sink.write(LINES)):
        with pytest.raises(SinkRefused) as caught:
            act()
        said.append(str(caught.value))
    sink.close()
    assert store.requests == []
    assert said[0] == said[1]
    assert CANARY not in said[0]
    return said[0]


def test_without_tls_no_authority_is_read(tmp_path):
    InfluxSink(Settings(influx_url="http://store:8086", influx_ca=tmp_path / "nowhere.pem")).close()


def test_a_certificate_of_our_authority_is_trusted(served, ca_file):
    with served() as store:
        sink = sink_for(store, influx_ca=ca_file)
        sink.check()
        assert sink.write(LINES).requests == 1
        sink.close()
        assert store.acknowledged[-1] == LINES


@pytest.mark.fault("F40")
@pytest.mark.parametrize("another_is_named", [False, True])
def test_a_certificate_of_an_authority_that_is_not_ours_is_refused(served, tmp_path, another_is_named):
    another = tmp_path / "another.pem"
    trustme.CA().cert_pem.write_to_path(another)
    with served() as store:
        said = refusal_of(store, another if another_is_named else None)
    assert "signed by an authority that we do not trust: set INFLUXDB_V2_SSL_CA_CERT" in said


@pytest.mark.fault("F40")
@pytest.mark.parametrize(
    ("name", "times", "said"),
    [
        ("127.0.0.1", {"not_before": -30, "not_after": -1}, "has expired: renew it on the server"),
        ("127.0.0.1", {"not_before": 1, "not_after": 9}, "is not valid yet: check the clocks"),
        ("influx.example.org", {}, "is for another name: use the name in the certificate in INFLUXDB_V2_URL"),
        ("127.0.0.2", {}, "is for another name: use the name in the certificate in INFLUXDB_V2_URL"),
    ],
    ids=["expired", "begins tomorrow", "another name", "another address"],
)
def test_a_certificate_of_another_time_or_name_is_refused(served, ca_file, name, times, said):
    days = {end: datetime.now(UTC) + timedelta(days=number) for end, number in times.items()}
    with served(name, **days) as store:
        assert said in refusal_of(store, ca_file)


@pytest.mark.fault("F40")
def test_a_store_without_tls_is_told_from_an_untrusted_one(stub_store, ca_file):
    stub_store.url = stub_store.url.replace("http:", "https:")
    sink = sink_for(stub_store, influx_ca=ca_file)
    with pytest.raises(SinkUnavailable, match=r"no secure connection|no answer"):
        sink.check()
    sink.close()


def test_an_authority_that_is_no_certificate_is_a_mistake_in_the_settings(tmp_path):
    with pytest.raises(SettingsError, match=r"INFLUXDB_V2_SSL_CA_CERT=.*not a readable PEM file"):
        InfluxSink(Settings(influx_url="https://store:8086", influx_ca=tmp_path / "missing.pem"))
