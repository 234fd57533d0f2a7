"""The event path holds only the event path."""

from tests.harness.reached import lines_reached

# 12,000, what resting, the watchdog and bookings by region added, what forecasts follow, what is unusual, what
# withholds all scores, the masks: their file, which incidents lie in them, and that artifacts have the job's; and that
# no spec names crime as answered by units; which share of a network is served; and how little
# Spark keeps on record.
MOST_LINES = 13_575


def test_the_job_reaches_few_lines_and_nothing_that_judges_or_reads_files_of_incidents():
    lines = lines_reached("streaming.cli.run")
    assert sum(lines.values()) <= MOST_LINES
    rooms = {module.rpartition(".")[0] for module in lines}
    assert not {"lifecycle", "lifecycle.gate", "lifecycle.registry", "models.files", "lifecycle.archive"} & rooms
    assert {"streaming.sinks.influx", "models.networks.residual"} <= lines.keys()  # by their names in tables
