"""The largest size of everything that comes from outside, and why. Larger things are refused before they take memory.

A region's series in the store are cells x categories x horizons; its counters in memory are cells x categories x bins.
"""

# Messages
MAX_EVENT_BYTES = 8 * 1024  # the longest event of the contract has about 1 KiB

# One region's spec
MAX_CELLS = 65_536  # 256 x 256 cells; at 1 km that is larger than the area of any agency
MAX_SIDE = 999  # rows and columns have three digits in a cell's id
MAX_CATEGORIES = 64  # an agency has about ten
MAX_HORIZONS = 6  # three are used: an hour, half a shift, a day
CLOCKS_DIFFER_S = 300  # an event that is no further ahead of our clock is not in the future
MAX_HORIZON_S = 7 * 86_400  # the hourly profile covers one week
MIN_SLIDE_S = 60  # smaller bins take many counters and tell little about a place
MAX_SLIDE_S = 900  # the shortest window of the features
MAX_FUTURE_LIMIT_S = 86_400  # bins ahead of the clock take memory, and no clock is wrong by more than a day
MAX_SERIES_PER_REGION = 1_000_000  # the store's own guide allows so many on a whole mid-sized server
MAX_COUNTERS_PER_REGION = 1 << 29  # 2 GiB of 32-bit counters in a worker, allocated as they are used

# Days of a region that are known in advance
MAX_CALENDAR_NAMES = 16  # each has three columns
MAX_CALENDAR_DAYS = 10_000  # of all names, and as many holidays: every day of 27 years

# One evaluation
MAX_CUBE_BYTES = 400_000_000  # of counts, one or two each, and as many again while a rule is checked for leaks

# When health, alerts, the service and the pages say that something is not in order
OLDEST_SCORES_S = 180  # three ticks of a minute; older scores are stale
SILENT_FEED_S = 3 * 3600  # since the newest incident; in a small region a quiet night is possible
DRIFT_BAND = (1 / 1.1, 1.1)  # of seen over expected: a whole confidence sequence outside is more than chance
UNUSUAL_DAYS = 14.0  # what chance alone shows more often than once in so many days, somewhere in a region, is as usual
SILENT_DAYS = 30.0  # the same of a feed that brings too little: it is silent where chance shows that more seldom
MOST_DAYS = 36_500.0  # a hundred years: no figure of what chance shows means more
EXPIRES_DAYS = 400  # after a version was made: of what its card was measured on the stream remembers nothing any more
CALIBRATION_BAND = (0.8, 1.25)  # of seen over expected, in sums of few days: beyond it somebody should ask why

# One answer of the service
MAX_SQUARES = 100_000  # inside cells: as GeoJSON up to 32 MB, for which nothing else is answered for a second

# All regions together
MAX_REGIONS = 256  # each worker keeps that many artifacts at hand; more would be read anew in every batch
MAX_SERIES = 10_000_000  # beyond it the store's sizing guide calls a single server infeasible

# Files of an artifact, as read and as unpacked
MIB = 1024 * 1024
MAX_MANIFEST_BYTES = MIB  # a real one has 6 KiB
MAX_CARD_BYTES = MIB  # text for a person
MAX_WEIGHTS_BYTES = MIB  # the largest network that a recipe and the limits above allow has 120 KiB
MAX_BASELINE_BYTES = 80 * MIB  # 16 blocks of the day x 8 bytes for half a million cells and categories
MAX_FINE_BYTES = 16 * MIB  # 134 bytes for each of the most cells; a city has 100 KiB
MAX_HISTORY_BYTES = 256 * MIB  # 16 bytes for each incident and level: five million incidents
MAX_ARRAYS = 512  # 6 constants; a history has one array for 32 bins, about 50 in all
MAX_FRAME_BYTES = 64 * MIB  # a million series have 21 bytes each, and the counts beside them
MAX_TIME_S = 7_258_118_400  # 2200-01-01: where a history's clock stands farther on, it is no clock


# How a line of a log begins
LOG_FORMAT = "%(asctime)s %(levelname)s %(message)s"
LOG_TIME = "%Y-%m-%dT%H:%M:%S%z"  # with the offset, so that lines of several machines can be laid side by side
