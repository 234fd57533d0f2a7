"""The words that start Java in a pod; a cluster runs them in tests/containers/kubernetes."""

import pytest

from schemas.errors import SparkFailed
from streaming.cli.prepare import driver_command, executor_command

POD = {
    "SPARK_DRIVER_URL": "spark://CoarseGrainedScheduler@10.0.0.1:7078",
    "SPARK_EXECUTOR_ID": "7",
    "SPARK_EXECUTOR_CORES": "1",
    "SPARK_APPLICATION_ID": "spark-1",
    "SPARK_EXECUTOR_POD_IP": "10.0.0.2",
    "SPARK_RESOURCE_PROFILE_ID": "0",
    "SPARK_EXECUTOR_POD_NAME": "executor-7",
    "SPARK_EXECUTOR_MEMORY": "1024m",
}


def test_options_of_java_keep_their_order_also_beyond_ten(tmp_path):
    options = {f"SPARK_JAVA_OPT_{number}": f"-Done=value {number}" for number in reversed(range(12))}
    words = executor_command(POD | options, tmp_path)
    assert words[1:13] == [f"-Done=value {number}" for number in range(12)]
    assert words[13:16] == ["-Xmx1024m", "-cp", f"{tmp_path}/*"]


@pytest.mark.parametrize("name", POD)
def test_a_variable_that_is_missing_is_named(name, tmp_path):
    with pytest.raises(SparkFailed, match=rf"^{name} is not in the environment: leave this command to Spark"):
        executor_command({key: value for key, value in POD.items() if key != name}, tmp_path)


def test_a_driver_submits_what_it_was_given_in_its_own_pod():
    words = driver_command({"SPARK_DRIVER_BIND_ADDRESS": "10.0.0.1"}, ["--class", "a.B", "local:///main.py", "run"])
    assert words[:5] == ["spark-submit", "--conf", "spark.driver.bindAddress=10.0.0.1", "--deploy-mode", "client"]
    assert words[5:] == ["--class", "a.B", "local:///main.py", "run"]
    with pytest.raises(SparkFailed, match="SPARK_DRIVER_BIND_ADDRESS is not in the environment"):
        driver_command({}, [])
