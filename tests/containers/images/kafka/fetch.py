"""`fetch.py FOLDER`: the jars of Kafka's broker and of its tools, by Ivy."""

import shutil
import subprocess
import sys
from pathlib import Path

from streaming.jars import KAFKA_VERSION, _pyspark_jar, kafka_class_path
from streaming.settings import Settings


def main(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    cache = Settings().cache
    ivy = ["java", "-jar", str(_pyspark_jar("ivy-[0-9]*.jar")), "-warn"]
    ivy += ["-cache", str(folder.with_name("ivy")), "-types", "jar", "bundle"]
    ivy += ["-dependency", "org.apache.kafka", "kafka-tools", KAFKA_VERSION]
    subprocess.run([*ivy, "-retrieve", f"{folder}/[artifact]-[revision](-[classifier]).[ext]"], check=True)
    for jar in kafka_class_path(cache).split(":"):
        shutil.copy(jar, folder)
    for older in folder.glob("slf4j-api-1.*.jar"):  # the back end brings a newer one
        older.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
