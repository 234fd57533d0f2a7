from tests.harness.browser import browser
from tests.harness.fixtures import broker, jar_cache, new_region, new_scorer, new_topic

__all__ = ["broker", "browser", "jar_cache", "new_region", "new_scorer", "new_topic"]
