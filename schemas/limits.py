"""How large anything from outside may be, and why. What is larger is refused before memory is taken for it.

A region's series in the store are cells x categories x horizons; its counters in memory are cells x categories x bins.
"""

# Messages
MAX_EVENT_BYTES = 8 * 1024  # an event of the contract with every field at its longest has about 1 KiB

# One region's spec
MAX_CELLS = 65_536  # a region 256 cells wide and high, which at 1 km is larger than any one agency's area
MAX_SIDE = 999  # rows and columns have three digits in a cell's id
MAX_CATEGORIES = 64  # the categories of an agency are some ten; each one multiplies cells
MAX_HORIZONS = 6  # three are used: an hour, half a shift, a day
CLOCKS_DIFFER_S = 300  # what is this little ahead of our clock is not taken for the future
MAX_HORIZON_S = 7 * 86_400  # the profile knows the hours of one week
MIN_SLIDE_S = 60  # a finer pane takes more counters than it gives knowledge of a place
MAX_SLIDE_S = 900  # the shortest window that features look at
MAX_FUTURE_LIMIT_S = 86_400  # bins ahead of the clock are kept, and a clock is not a day wrong
MAX_SERIES_PER_REGION = 1_000_000  # what the store's own sizing guide gives a whole mid-sized server
MAX_COUNTERS_PER_REGION = 1 << 29  # 2 GiB of 32-bit counters in one worker, taken as they are touched

# One evaluation
MAX_CUBE_COUNTS = 150_000_000  # 600 MB of counts, and each rule's forecasts of the judged steps beside them

# All regions together
MAX_REGIONS = 256  # each worker keeps that many artifacts at hand; more would be read anew in every batch
MAX_SERIES = 10_000_000  # beyond it the store's sizing guide calls a single server infeasible

# Files of an artifact, as read and as unpacked
MIB = 1024 * 1024
MAX_MANIFEST_BYTES = MIB  # a real one has 6 KiB
MAX_CARD_BYTES = MIB  # text for a person
MAX_WEIGHTS_BYTES = MIB  # the largest network that a recipe and the limits above allow has 120 KiB
MAX_BASELINE_BYTES = 80 * MIB  # 16 blocks of the day x 8 bytes for half a million cells and categories
MAX_HISTORY_BYTES = 256 * MIB  # 16 bytes for each incident and level: five million incidents
MAX_ARRAYS = 512  # 6 constants; a history has one array for 32 bins, about 50 in all
MAX_TIME_S = 7_258_118_400  # 2200-01-01: where a history's clock stands farther on, it is no clock
