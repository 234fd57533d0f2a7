"""The audit log: whatever is done to a line is found, a crash is told from a hand, and writers take turns."""

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from schemas.audit import kept_head, record, verify
from schemas.errors import AuditError, CheckpointError
from streaming.checkpoint import only_writer

START_S = 1_764_000_000.25
EVENTS = ("start", "settings", "artifact_in_force", "artifact_refused", "stop", "failure")


def written(path, count=6):
    """A log of `count` records, and the head after each."""
    return [
        record(path, EVENTS[number % len(EVENTS)], {"number": number, "text": 'a "ü" \n, {'}, at_s=START_S + number)
        for number in range(count)
    ]


@pytest.fixture(scope="module")
def log(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    heads = written(path)
    return path.read_bytes(), heads


@pytest.fixture(scope="module")
def log_with_a_torn_line(tmp_path_factory):
    path = tmp_path_factory.mktemp("audit") / "audit.jsonl"
    written(path, 3)
    path.write_bytes(path.read_bytes()[:-30])
    written(path, 2)
    return path.read_bytes()


def test_every_line_is_json_that_others_can_check(log):
    content, heads = log
    previous = "0" * 64
    for number, line in enumerate(content.splitlines(), 1):
        body, _, _ = line.partition(b',"hash":"')
        one = json.loads(line)
        assert (one["sequence"], one["previous"]) == (number, previous)
        assert one["hash"] == hashlib.sha256(body).hexdigest()
        previous = one["hash"]
    assert previous == heads[-1]
    assert json.loads(content.splitlines()[0])["at"] == "2025-11-24T16:00:00.250000Z"


def test_an_untouched_log_has_no_fault(log):
    content, heads = log
    verdict = verify(content)
    assert (len(verdict.records), verdict.head, verdict.faults, verdict.torn) == (6, heads[-1], [], [])
    assert (verdict.records[-1].at - verdict.records[0].at).total_seconds() == 5
    assert all(verify(content, heads=[head]).faults == [] for head in heads)


@pytest.mark.fault("F42")
@pytest.mark.parametrize("is_torn", [False, True])
@pytest.mark.parametrize("byte", [b"\n", b"x", b'"', b"}", b"0", None], ids=repr)
def test_any_edited_byte_is_found(log, log_with_a_torn_line, is_torn, byte):
    """None: its lowest bit."""
    content = log_with_a_torn_line if is_torn else log[0]
    assert verify(content).faults == []
    unseen = []
    for place, was in enumerate(content):
        edited = bytes([was ^ 1]) if byte is None else byte
        if edited[0] != was and not verify(content[:place] + edited + content[place + 1 :]).faults:
            unseen.append(place)
    assert unseen == []


@pytest.mark.fault("F42")
def test_an_edited_line_is_named_and_with_a_new_hash_it_breaks_the_next(log):
    lines = log[0].splitlines(keepends=True)
    for number, line in enumerate(lines):
        edited = [*lines[:number], line.replace(b'"number":', b'"numbed":'), *lines[number + 1 :]]
        assert verify(b"".join(edited)).faults == [f"line {number + 1} was edited: its hash does not match"]
    body = lines[2].partition(b',"hash":"')[0].replace(b'"number":2', b'"number":7')
    lines[2] = body + b',"hash":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
    assert verify(b"".join(lines)).faults == ["the line before line 4 was replaced: record 4 names another hash"]


@pytest.mark.fault("F42")
def test_a_removed_line_is_named_and_a_missing_tail_is_seen_by_a_head_that_was_noted(log):
    content, heads = log
    lines = content.splitlines(keepends=True)
    for number in range(len(lines) - 1):
        left = b"".join(lines[:number] + lines[number + 1 :])
        assert verify(left).faults == [f"missing before line {number + 1}: record {number + 1}"]
    assert verify(b"".join(lines[:1] + lines[4:])).faults == ["missing before line 2: records 2 to 4"]
    cut = b"".join(lines[:4])
    assert verify(cut, heads=[heads[3]]).faults == verify(cut).faults == []
    assert "the last lines are missing" in verify(cut, heads=[heads[5]]).faults[0]


@pytest.mark.fault("F42")
@pytest.mark.parametrize("number", range(6))
def test_every_line_that_was_moved_or_written_twice_is_found_wherever_it_went(log, number):
    lines = log[0].splitlines(keepends=True)
    others = lines[:number] + lines[number + 1 :]
    for place in range(6):
        for left in (others, lines):
            changed = [*left[:place], lines[number], *left[place:]]
            faults = verify(b"".join(changed)).faults
            assert bool(faults) == (changed != lines), place
            assert not [fault for fault in faults if "edited" in fault]
    first, second, *rest = lines
    assert "line 1 is misplaced" in verify(b"".join([second, first, *rest])).faults[0]


@pytest.mark.fault("F42")
def test_every_torn_end_is_told_from_an_edit_and_the_chain_goes_on(tmp_path):
    path = tmp_path / "audit.jsonl"
    heads = written(path, 2)
    whole = path.read_bytes()
    first = whole.index(b"\n") + 1
    for end in range(first + 1, len(whole) - 1):
        path.write_bytes(whole[:end])
        torn = verify(path.read_bytes())
        assert (len(torn.records), torn.head, torn.faults) == (1, heads[0], [])
        assert torn.torn == [f"a crash cut line 2 short after {end - first} bytes; the next record will note it"]
        head = record(path, "start", {}, at_s=START_S + 9)
        after = verify(path.read_bytes(), heads=[heads[0]])
        assert path.read_bytes().startswith(whole[:end]), "the evidence is gone"
        assert (len(after.records), after.head, after.faults) == (3, head, [])
        assert after.torn == ["a crash cut line 2 short; record 2 notes it"]


def test_a_record_that_lacks_only_its_newline_is_whole(tmp_path):
    path = tmp_path / "audit.jsonl"
    heads = written(path, 2)
    path.write_bytes(path.read_bytes()[:-1])
    assert (verify(path.read_bytes()).head, verify(path.read_bytes()).faults) == (heads[1], [])
    head = record(path, "start", {}, at_s=START_S)
    verdict = verify(path.read_bytes())
    assert (len(verdict.records), verdict.head, verdict.faults, verdict.torn) == (3, head, [], [])


@pytest.mark.fault("F42")
def test_an_edited_last_line_is_not_taken_for_a_torn_one_by_the_records_after_it(tmp_path):
    path = tmp_path / "audit.jsonl"
    written(path, 2)
    whole = path.read_bytes()
    for edited in (whole[:-9] + b"X" + whole[-8:], whole[:-1] + b"X"):
        path.write_bytes(edited)
        record(path, "start", {}, at_s=START_S)
        assert verify(path.read_bytes()).faults[0].startswith("line 2 was edited")


def test_a_full_disk_leaves_no_half_line(tmp_path, monkeypatch):
    path = tmp_path / "audit.jsonl"
    written(path, 1)
    before = path.read_bytes()

    def half(file, data):
        if len(data) < 100:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(file, data[: len(data) // 2])

    write = os.write
    monkeypatch.setattr(os, "write", half)
    with pytest.raises(AuditError, match=r"cannot be written \(No space left on device\).*RISK_AUDIT"):
        record(path, "stop", {}, at_s=START_S)
    assert path.read_bytes() == before


def test_a_log_that_cannot_be_opened_is_an_error_with_its_remedy(tmp_path):
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "audit.jsonl", tmp_path):
        with pytest.raises(AuditError, match=r"cannot be written \(.+\).*RISK_AUDIT") as caught:
            record(Path(path), "start", {}, at_s=START_S)
        assert caught.value.exit_code == 10


def test_a_log_that_was_wiped_stays_a_fault_through_every_log_after_it(tmp_path):
    """Noticed at a record, and set aside twice after it."""
    log, checkpoint = tmp_path / "audit.jsonl", tmp_path / "checkpoint"
    checkpoint.mkdir()
    given = {"at_s": 1.0, "checkpoint": checkpoint}
    lost = record(log, "start", {}, **given)
    log.write_bytes(b"")
    record(log, "stop", {}, **given)
    for number in range(2):
        record(log, "retention_applied", {}, **given, aside=tmp_path / f"old-{number}.jsonl")
        [fault] = verify(log.read_bytes(), heads=[kept_head(checkpoint, log)]).faults
        assert lost in fault


HOLDS = """
import os, sys, time
from pathlib import Path
from streaming.checkpoint import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
    os._exit(9)
"""
WRITER = """
import sys
from pathlib import Path
from schemas.audit import record
path = Path(sys.argv[1])
for number in range(40):
    aside = path.with_name(f"{number}.aside") if sys.argv[2:] == ["a", "aside"] and number % 10 == 9 else None
    record(path, "stop", {"writer": sys.argv[2], "number": number}, at_s=1.0, aside=aside)
"""


@pytest.mark.fault("F32")
def test_a_second_writer_is_refused_until_the_first_has_ended_however_it_ends(tmp_path):
    with subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path), "60"], stdout=subprocess.PIPE) as first:
        assert first.stdout.readline() == b"held\n"
        with pytest.raises(CheckpointError, match=f"in use by process {first.pid} on"), only_writer(tmp_path):
            pass
        first.kill()
        first.wait()
    with only_writer(tmp_path):
        pass


@pytest.mark.fault("F42")
def test_writers_take_turns_and_no_line_of_another_is_lost_when_the_log_is_set_aside(tmp_path):
    path = tmp_path / "new" / "audit.jsonl"
    words = (("a", "aside"), ("b",))
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), *each]) for each in words]
    assert [writer.wait(60) for writer in writers] == [0, 0]
    verdicts = [verify(log.read_bytes()) for log in (path, *path.parent.glob("*.aside"))]
    assert [verdict.faults for verdict in verdicts] == [[]] * 5
    written = [(entry.details["writer"], entry.details["number"]) for of in verdicts for entry in of.records]
    assert {*written} == {(writer, number) for writer in "ab" for number in range(40)}
    assert len(written) == 80 + 4  # the record of each setting aside ends one log and begins the next
