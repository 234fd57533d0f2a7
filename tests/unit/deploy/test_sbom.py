"""The bill of materials: what is installed, and the jars that pip does not know of."""

import hashlib
import json
import zipfile
from importlib.util import find_spec

import pytest

from deploy import sbom
from deploy.sbom import bill_of_materials, fetched_jars, pyspark_jars, with_jars
from schemas.errors import RiskError

pytestmark = pytest.mark.package


@pytest.fixture
def cache(tmp_path):
    """A cache as Ivy lays it out, with two jars."""
    for group, name, kind, version in (
        ("org.apache.kafka", "kafka_2.13", "jars", "4.2.0"),
        ("org.apache.spark", "spark-sql-kafka-0-10_2.13", "jars", "4.2.0"),
        ("org.hdrhistogram", "HdrHistogram", "bundles", "2.2.2"),
    ):
        folder = tmp_path / "ivy" / "cache" / group / name / kind
        folder.mkdir(parents=True)
        (folder / f"{name}-{version}.jar").write_bytes(name.encode())
        (folder.parent / f"ivy-{version}.xml").write_text("<ivy-module/>")
    return tmp_path


def test_a_fetched_jar_is_named_by_group_name_version_and_the_hash_of_its_bytes(cache):
    jars = {jar["purl"]: jar for jar in fetched_jars(cache)}
    assert list(jars) == [
        "pkg:maven/org.apache.kafka/kafka_2.13@4.2.0",
        "pkg:maven/org.apache.spark/spark-sql-kafka-0-10_2.13@4.2.0",
        "pkg:maven/org.hdrhistogram/HdrHistogram@2.2.2",
    ]
    content = jars["pkg:maven/org.apache.kafka/kafka_2.13@4.2.0"]["hashes"]
    assert content == [{"alg": "SHA-256", "content": hashlib.sha256(b"kafka_2.13").hexdigest()}]


def test_the_jars_inside_pyspark_are_listed_with_their_hashes():
    jars = {jar["name"]: jar for jar in pyspark_jars()}
    assert len(jars) > 200
    assert jars["spark-core_2.13"]["version"] == "4.2.1"
    assert jars["py4j"]["version"] == "0.10.9.9"
    assert all(len(jar["hashes"][0]["content"]) == 64 for jar in jars.values())


@pytest.mark.parametrize(
    ("poms", "group"), [(["org.example/a"], "org.example"), ([], None), (["org.example/a", "com.other/b"], None)]
)
def test_the_group_of_a_jar_is_what_it_says_when_it_says_one_thing(tmp_path, poms, group):
    with zipfile.ZipFile(tmp_path / "a-1.jar", "w") as jar:
        for pom in poms:
            jar.writestr(f"META-INF/maven/{pom}/pom.properties", "")
    assert sbom._group_within(tmp_path / "a-1.jar") == group


def test_a_jar_that_stands_in_two_places_is_one_component():
    jar = {"bom-ref": "jar:a-1.jar:0", "name": "a"}
    assert with_jars({"components": []}, [jar, dict(jar)]) == {"components": [jar]}


def test_without_its_library_the_command_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("deploy.sbom.find_spec", lambda name: None)
    with pytest.raises(RiskError, match="make sbom"):
        bill_of_materials(tmp_path)


@pytest.mark.skipif(find_spec("cyclonedx_py") is None, reason="needs cyclonedx-bom: the extra `sbom`")
def test_the_document_lists_packages_and_jars_and_is_what_cyclonedx_accepts(cache):
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    document = bill_of_materials(cache)
    components = {(component["name"], component.get("group")) for component in document["components"]}
    assert {("pyspark", None), ("torch", None), ("kafka_2.13", "org.apache.kafka")} <= components
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)) is None
