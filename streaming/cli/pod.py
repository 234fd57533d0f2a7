"""`executor` and `driver`, one command: what Spark asks of an image when it starts pods on Kubernetes."""

import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from schemas.errors import SparkFailed

_BACKEND = "org.apache.spark.scheduler.cluster.k8s.KubernetesExecutorBackend"
_TOLD_AS = {
    "--driver-url": "SPARK_DRIVER_URL",
    "--executor-id": "SPARK_EXECUTOR_ID",
    "--cores": "SPARK_EXECUTOR_CORES",
    "--app-id": "SPARK_APPLICATION_ID",
    "--hostname": "SPARK_EXECUTOR_POD_IP",
    "--resourceProfileId": "SPARK_RESOURCE_PROFILE_ID",
    "--podName": "SPARK_EXECUTOR_POD_NAME",
}
_JAVA_OPTION = "SPARK_JAVA_OPT_"  # and a number: their order


def executor_command(environment: Mapping[str, str], jars: Path) -> list[str]:
    """The words that start Java as the executor that Spark's driver described in the pod's `environment`.

    Raises SparkFailed when a variable is missing: then it was not Spark that started the container.
    """
    _refuse_what_is_missing(environment, (*_TOLD_AS.values(), "SPARK_EXECUTOR_MEMORY"))
    numbered = sorted(
        (int(name.removeprefix(_JAVA_OPTION)), option)
        for name, option in environment.items()
        if name.startswith(_JAVA_OPTION)
    )
    return [
        "java",
        *(option for _, option in numbered),
        f"-Xmx{environment['SPARK_EXECUTOR_MEMORY']}",
        *("-cp", f"{jars}/*"),
        _BACKEND,
        *(word for option, name in _TOLD_AS.items() for word in (option, environment[name])),
    ]


def driver_command(environment: Mapping[str, str], arguments: Sequence[str]) -> list[str]:
    """The words that start the program that `spark-submit --deploy-mode cluster`, or an operator, has named.

    Raises SparkFailed when the address that the pod listens at is not in its `environment`.
    """
    _refuse_what_is_missing(environment, ["SPARK_DRIVER_BIND_ADDRESS"])
    address = f"spark.driver.bindAddress={environment['SPARK_DRIVER_BIND_ADDRESS']}"
    return ["spark-submit", "--conf", address, "--deploy-mode", "client", *arguments]


def _refuse_what_is_missing(environment: Mapping[str, str], names: Sequence[str]) -> None:
    if missing := [name for name in names if not environment.get(name)]:
        fault = f"{', '.join(missing)} is not in the environment"
        raise SparkFailed(fault, remedy="leave this command to Spark on Kubernetes, which starts the pods")


def become(context: typer.Context, arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Become the pod that Spark on Kubernetes, or an operator of it, has started: an executor or a driver."""
    environment = os.environ  # noqa: TID251 - what Spark told the pod
    words = (
        executor_command(environment, Path(str(files("pyspark"))) / "jars")
        if context.info_name == "executor"
        else driver_command(environment, arguments or [])
    )
    os.execvp(words[0], words)  # noqa: S606 - without a shell
