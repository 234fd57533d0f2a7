"""The password of Kafka is in no text that Spark makes of a plan or of its settings."""

import pytest
import trustme

from streaming.flow.dataflow import kafka_messages, with_heartbeat
from streaming.settings import Settings
from streaming.topics.kafka import KafkaConnection

PASSWORD = r"""numbat"8087\ ; '$HOME' = #"""


@pytest.mark.fault("F43")
def test_sparks_plans_and_settings_hide_the_jaas_line(session, tmp_path, tmp_path_factory, capsys):
    """Spark's own pages and logs are made of these texts; the pages themselves are switched off."""
    authority = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(authority)
    user = {"RISK_KAFKA_USERNAME": "scorer", "RISK_KAFKA_PASSWORD": PASSWORD, "RISK_KAFKA_CA": str(authority)}
    settings = Settings.from_environment({**user, "RISK_KAFKA_SECURITY": "sasl_ssl", "RISK_CHECKPOINT": str(tmp_path)})
    assert "numbat" in KafkaConnection.of(settings).spark_options()["kafka.sasl.jaas.config"]
    messages = with_heartbeat(session, kafka_messages(settings, session))
    messages.explain("formatted")
    messages.explain(True)
    said, plan = capsys.readouterr(), messages._jdf.queryExecution().toString()
    assert "StreamingRelation" in said.out
    assert "StreamingRelation" in plan
    shown = session.sparkContext.getConf().toDebugString()
    assert "spark.ui.enabled=false" in shown
    (log,) = tmp_path_factory.getbasetemp().glob("session[0-9]*/spark.log")
    assert "numbat" not in said.out + said.err + plan + shown + log.read_text(encoding="utf-8", errors="replace")
