"""How a line of a program's log begins."""

LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
LOG_TIME = "%Y-%m-%dT%H:%M:%S%z"  # with the offset, so that lines of several machines can be laid side by side
