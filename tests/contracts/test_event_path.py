"""The event path holds only the event path."""

from tests.harness.reached import lines_reached


def test_the_job_reaches_nothing_that_judges_or_reads_files_of_incidents():
    lines = lines_reached("streaming.cli.job_commands")
    rooms = {module.rpartition(".")[0] for module in lines}
    assert not {"lifecycle", "models.files"} & rooms
    assert {"streaming.sinks.influx", "models.network"} <= lines.keys()  # by their names in tables
