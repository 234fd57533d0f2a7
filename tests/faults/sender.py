"""Sends events without a pause while the broker is away, as a centre does that knows nothing of our faults."""

import contextlib
import threading
import time

from kafka.errors import KafkaError

from tests.faults.scenario import Producer

EVERY_S = 0.1


class Sender:
    """Sends while it is entered, and waits at the end for Kafka's answers.

    What was acknowledged goes to the world's `acknowledged` and must be in the topic. The rest may be there or not:
    the recount reads the topic. sent_at: monotonic times.
    """

    def __init__(self, world, action):
        self.world, self.action = world, action
        self.sent_at, self._sent = [], []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep_sending, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._ended.set()
        self._thread.join()
        for future, value in self._sent:
            with contextlib.suppress(KafkaError):
                where = future.get(timeout=60)
                self.world.acknowledged[where.partition, where.offset] = value

    def _keep_sending(self):
        """With a memory of its own: what the scenario's other actions send does not depend on how long this takes."""
        producer = Producer(self.world.producer.regions)
        for message in producer.stream(self.action):
            if self._ended.wait(EVERY_S):
                return
            with contextlib.suppress(KafkaError):
                self._sent.append((self.world.send(message), message[1]))
            self.sent_at.append(time.monotonic())
