import gc
import os

from hypothesis import Phase, settings

pytest_plugins = [
    "tests.harness.browser",
    "tests.harness.fixtures",
    "tests.harness.needs",
]

# Several workers of pytest share the cores: threads of theirs would spin while they wait for one another. A test of
# torch took ten times as long beside another one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Each Java lives for seconds: its second compiler would take a third of all its time and bring nothing back, and to
# verify the classes of released jars anew in each takes a seventh.
JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote")
os.environ.setdefault("JDK_JAVA_OPTIONS", " ".join(JAVA))

# A test without a number of its own runs 100 examples, wherever it is run from. How fast one is says something about
# the machine, not about the program. Each run draws examples of its own, in CI too, where Hypothesis would repeat one
# draw.
settings.register_profile("tests", max_examples=100, deadline=None, derandomize=False)
# A change is noticed by any failing example: nobody reads the smallest one.
settings.register_profile("mutants", settings.get_profile("tests"), phases=(Phase.explicit, Phase.generate))
settings.load_profile("tests")


def pytest_collection_finish():
    """What was imported stays to the end: without this the garbage collector walks through all of it anew each time."""
    gc.freeze()
