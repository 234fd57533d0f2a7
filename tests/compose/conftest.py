from tests.harness.fixtures import broker, jar_cache

__all__ = ["broker", "jar_cache"]
