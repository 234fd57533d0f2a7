"""What a scenario can do to the job, its broker and its store."""

import contextlib
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, replace

from kafka import KafkaAdminClient

from tests.faults.offsets import ends_of, newest
from tests.faults.sender import Sender

DEADLINE_S = 240.0
DISTURBED = {"down": {"refuses": True}, "hangs": {"swallows": True}, "slow": {"delay_s": 0.2}}  # settings of a Proxy
FIRST_LOAD = "the first load"  # what comes before the faults


@dataclass(frozen=True)
class Kill:
    """What there was when the job was dead. kept: hours of which a forecast is kept (riverton's)."""

    mark: str
    at_s: int  # the simulated time of what was sent
    offsets: int  # newest batch that was planned
    commits: int  # newest batch that was committed
    is_planned: bool  # whether some of what was sent is in a batch
    kept: frozenset


class Actions:
    """Of a World. Every method brings about one action and returns when it is done."""

    def do_send(self, action):
        """produce, correct, cancel, repeat, rubbish, stray"""
        sent = [(self.send(message), message[1]) for message in self.producer.messages(action)]
        self._kafka.flush(timeout=60)
        for future, value in sent:
            where = future.get(timeout=30)
            self.acknowledged[where.partition, where.offset] = value

    def do_settle(self, action):
        """Wait until the job runs and has all of it: what comes next meets it at work, not at its start."""
        self.settle(FIRST_LOAD)

    def do_pause(self, action):
        time.sleep(action.argument)

    def do_kill(self, action):
        """SIGKILL to the job's process group at a mark, while it takes in what is sent here."""
        is_killed = self._kill(action)
        self._start()
        self.settle(f"SIGKILL {action.argument}" if is_killed else "an end before SIGKILL came")

    def _kill(self, action):
        """The job has ended then. Gives whether by SIGKILL."""
        self._ensure_running()
        process, spark = self.scorer.process, self.scorer.checkpoint / "spark"
        died = threading.Event()

        def shoot(*, is_noted=False):
            if not is_noted:
                self.scorer.note_children()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            died.set()

        if action.argument == "in write":
            self.store.before_write = shoot
        elif action.argument == "after write":
            self.store.after_write = shoot
        planned = self._planned()
        self.scorer.note_children()
        self.do_send(action)
        deadline = time.monotonic() + DEADLINE_S
        if action.argument == "now":
            time.sleep(random.Random(action.seed).uniform(0, 2))
            shoot()
        while not died.is_set():
            assert time.monotonic() < deadline, f"the mark {action.argument} was not reached"
            if process.poll() is not None:
                break  # another fault has ended it
            if action.argument == "after offsets" and self._planned() > planned:
                shoot()
            if action.argument == "after keep" and action.at_s in self._kept():
                shoot(is_noted=True)  # noting takes as long as what is left until the commit
            if action.argument == "between batches" and newest(spark / "offsets") == newest(spark / "commits") > -1:
                self.scorer.note_children()
                if newest(spark / "offsets") == newest(spark / "commits"):
                    shoot(is_noted=True)
            time.sleep(0.001)
        self.store.before_write = self.store.after_write = None
        code = self.scorer.end()
        if code != -signal.SIGKILL:
            self._note_exit(code)
            return False
        ends = newest(spark / "offsets"), newest(spark / "commits")
        self.kills.append(Kill(action.argument, action.at_s, *ends, self._planned() > planned, self._kept()))
        return True

    def _planned(self):
        """Messages up to the end of the newest batch that Spark has planned; most batches of a calm job hold none."""
        spark = self.scorer.checkpoint / "spark"
        return sum(ends_of(spark, newest(spark / "offsets"), self.topic.name).values())

    def _kept(self):
        folder = self.scorer.checkpoint / "outcomes" / "riverton"
        return frozenset(int(path.stem) for path in folder.glob("*.npz"))

    def do_restart(self, action):
        self._wait_until(self._is_up, "the job")
        code = self.scorer.end(signal.SIGTERM)
        if code:
            self._note_exit(code)
        self._start()
        self.settle("restart")

    def do_lose_commit(self, action):
        """SIGKILL between two batches, and the newest commit is lost: its batch is repeated."""
        self._wait_until(self._is_up, "the job")
        self._kill(replace(action, argument="between batches"))
        spark = self.scorer.checkpoint / "spark"
        number = newest(spark / "commits")
        (spark / "commits" / str(number)).unlink()
        (spark / "offsets" / str(number + 1)).unlink(missing_ok=True)  # of a batch that was begun as the kill came
        self._start()
        self.settle("SIGKILL between batches and a lost commit")

    def do_broker_restart(self, action):
        self._without_broker(action, self.broker.stop, "broker restart")

    def do_broker_kill(self, action):
        self._without_broker(action, self.broker.kill, "broker SIGKILL")

    def _without_broker(self, action, end_it, what):
        """Events go on coming in meanwhile; what Kafka acknowledged must be there afterwards."""
        with Sender(self, action) as sender:
            injected = self._inject(action.kind, sender.sent_at)
            end_it()
            time.sleep(action.argument)
            self.broker.start()
            back = injected.ended = time.monotonic()
        self.settle(what, since=back)

    def do_broker_freeze(self, action):
        with Sender(self, action) as sender:
            injected = self._inject(action.kind, sender.sent_at)
            self.broker.freeze(action.argument)
            back = injected.ended = time.monotonic()
        self.settle("broker SIGSTOP", since=back)

    def do_kafka_cut(self, action):
        self._cut(action, self.broker.proxy)

    def _disturb(self, action):
        """Kafka or the store is down, hangs or is slow for a while."""
        who, how = action.kind.split("_")
        proxy = self.broker.proxy if who == "kafka" else self.proxy
        self._for_a_while(action, proxy, **DISTURBED[how])
        if how == "down":
            proxy.cut()

    do_kafka_down = do_kafka_hangs = do_kafka_slow = do_store_down = do_store_hangs = do_store_slow = _disturb

    def do_store_503(self, action):
        injected = self._inject(action.kind, self.store.hits)
        self.store.answers += [(503, b'{"code":"unavailable","message":"try later"}', {})] * action.argument
        self._send_until_hit(action, injected)

    def do_store_half(self, action):
        self._break_once(action, "cut_upload_after", action.argument)

    def do_store_loses_answer(self, action):
        self._break_once(action, "loses_answer", True)

    def _break_once(self, action, fault, value):
        injected = self._inject(action.kind, self.proxy.hits[fault])
        setattr(self.proxy, fault, value)
        self._send_until_hit(action, injected)

    def do_cut(self, action):
        self._cut(action, self.proxy)

    def _cut(self, action, proxy):
        """After what is sent here: it makes the job open a connection where it has none."""
        self.do_send(action)
        self._wait_until(lambda: proxy.is_in_use, f"{action.kind} to have something to cut")
        self._inject(action.kind, proxy.hits["cut"])
        proxy.cut()

    def _send_until_hit(self, action, injected):
        self.do_send(action)
        self._wait_until(lambda: injected.hits, f"{action.kind} to meet a write")

    def do_add_region(self, action):
        region = self._publish("lakeside", 44.0)
        self._wait_until(lambda: any("region=lakeside" in key for key, _ in self.store.snapshot()), "the new region")
        self.producer.regions.append(region)
        self.do_send(action)

    def do_add_partitions(self, action):
        self._partitions += action.argument
        with KafkaAdminClient(bootstrap_servers=self.broker.bootstrap) as admin:
            admin.create_partitions({self.topic.name: self._partitions})
        self._kafka.close(timeout=30)
        self._kafka = self._connect()
        self.do_send(action)

    def do_swap_artifact(self, action):
        self._publish("riverton", 41.0, created="20260201T000000Z")
        version = self.versions["riverton"][-1]
        self._wait_until(
            lambda: any(fields.get("model") == f'"{version}"' for fields in self.store.snapshot().values()),
            f"artifact {version}",
        )
        self.do_send(action)
