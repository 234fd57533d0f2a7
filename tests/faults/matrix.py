"""The fault matrix: for each fault what is injected, what must hold, and which tests show it.

A test is `path::name`; all its parameters count unless one is named in brackets.
"""

from dataclasses import dataclass

SCENARIO = "tests/faults/test_scenarios.py::test_every_invariant_holds"


@dataclass(frozen=True)
class Fault:
    id: str
    what: str
    injected: str
    holds: str
    tests: tuple = ()
    not_run: str = ""  # why there is no test


INVARIANTS = {
    "I1": "every valid event is counted exactly once, in the final stored value",
    "I2": "consumed = counted + corrected + duplicate + excluded + rejected, at every stored point",
    "I3": "every refused message is in the dead-letter topic with its reason and place",
    "I4": "no score is missing: one point for each cell, category and horizon, quiet ones included",
    "I5": "no score is doubled: a repeated batch overwrites its own points",
    "I6": "a run with restarts stores what a run without stores",
    "I7": "clocks and offsets never go back; nothing is committed before the store has it",
    "I8": "every score is finite, in its range, with model and support",
    "I9": "a fault is never quiet: a line, a not-ready health file, or a non-zero exit",
    "I10": "recovery within 60 s after the fault has ended",
    "I11": "memory, files and threads stay flat",
    "I12": "no secret and no payload in any log",
}

FAULTS = (
    Fault("F00", "none", "the same scenario without a fault", "I1 I2 I3 I4 I5 I7 I8 I12", (f"{SCENARIO}[baseline]",)),
    Fault(
        "F01",
        "the job is killed",
        "SIGKILL to the process group: at a random time, between batches, after the offsets, in the middle of the "
        "store's write, after the write before the commit",
        "I1 to I8",
        (
            *(
                f"{SCENARIO}[{name}]"
                for name in (
                    "kill_now",
                    "kill_between_batches",
                    "kill_after_offsets",
                    "kill_in_write",
                    "kill_after_write",
                )
            ),
            "tests/stack/test_kill.py::"
            "test_four_kills_at_four_points_change_neither_scores_nor_ledger_nor_dead_letters",
        ),
    ),
    Fault(
        "F02",
        "the job is told to stop",
        "SIGTERM to the process, SIGTERM and SIGINT to its group, a restart in the middle of the load",
        "exit 0, I1 to I8",
        (
            f"{SCENARIO}[restart]",
            "tests/stack/test_pipeline_failures.py::test_a_signal_to_the_whole_process_group_leaves_no_trace",
            "tests/stack/test_pipeline.py::test_sigterm_ends_the_job_with_exit_code_0_one_line_and_no_trace",
        ),
    ),
    Fault(
        "F03",
        "the job is frozen",
        "SIGSTOP to the process group for 60 s, events meanwhile",
        "I1 to I8, I10",
        ("tests/faults/test_process.py::test_a_job_that_is_frozen_for_a_minute_catches_up",),
    ),
    Fault(
        "F04",
        "an executor is killed",
        "SIGKILL to one of two executors in `local-cluster[2,1,1024]`",
        "I1, the model is made again in the new worker",
        ("tests/faults/test_process.py::test_a_killed_executor_is_replaced",),
    ),
    Fault(
        "F05",
        "Python workers are killed",
        "SIGKILL to all of them in the middle of a task, three times",
        "I1 to I6",
        ("tests/spark/test_disturbed.py::test_killed_python_workers_cost_a_retry_and_nothing_else",),
    ),
    Fault(
        "F06",
        "Kafka is away",
        "nobody listens at the start; the broker stops for 4 s, for 150 s (Spark's query has failed by then); it is "
        "frozen for 8 s; the way to it is cut, refused for 9 s, silent for 8 s, slowed to 0.2 s a packet",
        "I1 to I8, I9: said within seconds, exit 5 when it stays away",
        (
            f"{SCENARIO}[broker_restart]",
            f"{SCENARIO}[broker_freeze]",
            *(f"{SCENARIO}[kafka_{what}]" for what in ("cut", "down", "hangs", "slow")),
            "tests/stack/test_pipeline_failures.py::test_a_broker_that_does_not_listen",
            "tests/stack/test_pipeline_failures.py::"
            "test_a_broker_that_ends_while_the_job_runs_is_noticed_and_waited_for",
        ),
    ),
    Fault(
        "F07",
        "Kafka is killed",
        "SIGKILL to the broker while events come in, restart after 4 s",
        "I1 to I8; every acknowledged message is there",
        (
            f"{SCENARIO}[broker_kill]",
            "tests/stack/test_broker.py::test_it_answers_keeps_its_topics_over_a_kill_and_leaves_no_process",
        ),
    ),
    Fault(
        "F08",
        "Kafka deletes events before they are read",
        "records deleted while the job is stopped",
        "I9: exit 9 that counts the offsets by partition; nothing is written",
        ("tests/stack/test_checkpoint.py::test_a_checkpoint_is_for_one_job_one_topic_and_its_settings",),
    ),
    Fault(
        "F09",
        "the topic is deleted and made anew",
        "by the admin API",
        "I9: exit 8 that names both ids",
        (
            "tests/stack/test_checkpoint.py::test_a_checkpoint_is_for_one_job_one_topic_and_its_settings",
            "tests/unit/test_guard.py::test_a_topic_that_was_made_anew_is_refused",
        ),
    ),
    Fault("F10", "partitions are added", "two more while it runs", "I1 to I8", (f"{SCENARIO}[partitions]",)),
    Fault(
        "F11",
        "poison messages",
        "112 kinds, between good ones",
        "I2, I3, neighbours are counted",
        (
            "tests/stack/test_pipeline.py::"
            "test_every_kind_of_bad_message_becomes_a_dead_letter_with_its_reason_and_place",
            "tests/stack/test_pipeline.py::test_neighbours_of_bad_messages_are_counted_and_every_ledger_balances",
            "tests/contracts/test_event_contract.py::"
            "test_any_message_has_one_outcome_the_same_twice_and_never_one_that_the_schema_refuses",
        ),
    ),
    Fault(
        "F12",
        "tombstones, empty values",
        "among the poison and in every scenario",
        "I3: `null_value`, `not_json`",
        (
            "tests/stack/test_pipeline.py::"
            "test_every_kind_of_bad_message_becomes_a_dead_letter_with_its_reason_and_place",
            f"{SCENARIO}[baseline]",
        ),
    ),
    Fault(
        "F13",
        "giant payloads",
        "60 messages of 900 kB (54 MB) between good events",
        "I1, I3, bounded memory",
        ("tests/faults/test_process.py::test_giant_messages_are_refused_and_their_neighbours_counted",),
    ),
    Fault(
        "F14",
        "the same event again",
        "in the same batch, in another one, after a restart",
        "I1, I2",
        (
            "tests/spark/test_scored.py::"
            "test_counts_ledger_and_dead_letters_equal_a_recount_and_scores_the_offline_path",
            "tests/contracts/test_count_state.py::test_batch_boundaries_change_nothing",
            "tests/contracts/test_count_state.py::test_a_restart_from_the_stored_blobs_equals_no_restart",
        ),
    ),
    Fault(
        "F15",
        "the same id with other content",
        "higher, equal and lower revisions, cancellations",
        "I1: the highest revision counts",
        ("tests/contracts/test_count_state.py::test_counts_and_ledger_equal_a_recount_of_the_final_revisions",),
    ),
    Fault(
        "F16",
        "events out of order",
        "shuffled micro-batches, delays of up to 20 h",
        "I1 exactly",
        (
            "tests/spark/test_scored.py::"
            "test_counts_ledger_and_dead_letters_equal_a_recount_and_scores_the_offline_path",
        ),
    ),
    Fault(
        "F17",
        "events that are too late",
        "a second inside and outside of the limit, days behind the clock",
        "I2, I3: `late`",
        (
            "tests/unit/test_decode.py::test_the_limits_themselves_are_inside",
            f"{SCENARIO}[baseline]",
        ),
    ),
    Fault(
        "F18",
        "events of the far future",
        "2099, 40 days ahead, a second outside of the limit",
        "I2, I3: `future`; no clock moves",
        (
            "tests/unit/test_decode.py::test_the_limits_themselves_are_inside",
            "tests/unit/test_decode_clock.py",
            f"{SCENARIO}[baseline]",
        ),
    ),
    Fault(
        "F19",
        "impossible times",
        "no offset, numbers, leap seconds, epoch 0, year 9999, a Kafka timestamp that Spark cannot read",
        "I3; the last one ends the job with its place named",
        (
            "tests/stack/test_pipeline.py::"
            "test_every_kind_of_bad_message_becomes_a_dead_letter_with_its_reason_and_place",
            "tests/unit/test_decode.py::"
            "test_a_kafka_timestamp_that_is_no_time_refuses_the_event_and_nothing_else_happens",
            "tests/stack/test_pipeline_failures.py::test_a_kafka_timestamp_that_spark_cannot_read_is_named",
        ),
    ),
    Fault(
        "F20",
        "the host's clock steps",
        "an hour back and an hour ahead, by the injected clock",
        "I7; what a right clock stamps is refused as `future`, with its place, while ours is behind",
        ("tests/spark/test_clock_steps.py",),
    ),
    Fault(
        "F21",
        "nothing comes in",
        "a silent region on both clocks; a page that nobody rewrites",
        "scores at every tick; the page says STALE",
        (
            "tests/spark/test_artifacts.py::test_on_the_wall_clock_a_silent_region_is_scored_at_every_tick",
            "tests/spark/test_region_counter.py::"
            "test_a_silent_region_is_scored_once_a_tick_and_falls_back_to_the_baseline",
            "tests/stack/test_map_page_browser.py::test_a_page_nobody_rewrites_says_stale",
        ),
    ),
    Fault(
        "F22",
        "the store is away, slow or half there",
        "refused and cut connections, no answer for 8 s, 0.2 s a packet, 503, 429, Retry-After, a body cut after 700 "
        "and 5,000 bytes, an acknowledgement that is lost",
        "I1 to I8: the stream waits, then exit 6",
        (
            *(
                f"{SCENARIO}[{name}]"
                for name in (
                    "store_down",
                    "store_hangs",
                    "store_slow",
                    "store_503",
                    "store_half",
                    "store_loses_answer",
                    "store_cut",
                )
            ),
            "tests/contracts/test_influx_answers.py::test_a_busy_store_is_asked_again_until_it_takes_the_lines",
            "tests/contracts/test_influx_answers.py::test_a_store_says_how_long_to_wait",
            "tests/stack/test_stores.py::"
            "test_a_store_that_has_stopped_is_reported_and_its_lines_are_there_after_a_restart",
            "tests/stack/test_pipeline_failures.py::test_a_store_that_does_not_listen",
        ),
    ),
    Fault(
        "F23",
        "the store refuses a line",
        "400 with the forms of InfluxDB 1, 2 and 3",
        "I9: exit 6 with the line's number; not tried again",
        ("tests/contracts/test_influx_answers.py::test_the_first_bad_line_is_counted_from_the_start_of_the_write",),
    ),
    Fault(
        "F24",
        "the store takes a part",
        "422 for retention, for a type conflict",
        "dropped points are counted; a conflict stops",
        (
            "tests/contracts/test_influx_answers.py::test_points_beyond_the_retention_are_counted_and_the_rest_goes_on",
            "tests/contracts/test_influx_answers.py::test_points_lost_for_another_reason_stop_the_write",
        ),
    ),
    Fault(
        "F25",
        "the store's disk is full",
        "500 `no space left`; a full file system under the file sink",
        "tried again, then exit 6",
        (
            "tests/contracts/test_influx_answers.py::test_a_store_that_stays_busy_is_given_up",
            "tests/unit/test_file_sink.py::test_a_full_disk_fails_the_write_and_the_next_one_leaves_no_torn_line",
        ),
    ),
    Fault(
        "F26",
        "a field changes its type",
        "every number read back from InfluxDB",
        "all are floats",
        ("tests/stack/test_stores.py::test_every_number_is_a_float_to_influxdb",),
    ),
    Fault(
        "F27",
        "wrong token, read-only token, no bucket",
        "401, 403, 404, at the start and while it runs",
        "I9: exit 6 with the remedy, at once",
        (
            "tests/contracts/test_influx_answers.py::test_a_refusal_is_not_tried_again_and_names_its_remedy",
            "tests/stack/test_pipeline_failures.py::test_a_store_that_refuses_while_the_job_runs",
        ),
    ),
    Fault(
        "F28",
        "a damaged artifact",
        "files missing, cut, bit-flipped, linked, a pickle inside, half copied",
        "refused with the reason; the old one stays; damaged weights leave the baseline",
        (
            "tests/contracts/test_artifact.py",
            "tests/contracts/test_hostile_artifact.py",
            "tests/contracts/test_roster.py",
        ),
    ),
    Fault(
        "F29",
        "an artifact of another spec",
        "other categories, grid, features",
        "refused; the stored counts are not touched",
        (
            "tests/spark/test_artifacts.py::test_an_artifact_of_another_spec_is_refused_and_the_old_one_stays",
            "tests/spark/test_region_counter.py::test_stored_counts_of_another_spec_are_not_touched",
            "tests/contracts/test_roster.py::test_another_spec_is_refused_while_the_counts_of_the_old_one_are_kept",
        ),
    ),
    Fault(
        "F30",
        "a model that gives nonsense",
        "NaN weights, weights that do not fit, scores out of range",
        "the baseline, and the point says so; I8",
        (
            "tests/contracts/test_hostile_artifact.py::test_weights_that_are_no_numbers_leave_the_baseline",
            "tests/contracts/test_hostile_artifact.py::"
            "test_a_network_that_gives_no_usable_number_leaves_the_baseline_and_the_score_says_so",
            "tests/spark/test_artifacts.py::test_a_damaged_network_leaves_the_baseline_and_the_score_says_so",
            "tests/unit/test_lines.py",
        ),
    ),
    Fault(
        "F31",
        "a damaged checkpoint",
        "offsets cut to 0 bytes, the last offsets, commit, metadata or state deleted",
        "I9: exit 8 with the remedy, nothing is written",
        ("tests/faults/test_checkpoint_damage.py",),
    ),
    Fault(
        "F32",
        "two jobs on one checkpoint",
        "a second process",
        "I9: exit 8 that names the first",
        (
            "tests/stack/test_checkpoint.py::test_a_checkpoint_is_for_one_job_one_topic_and_its_settings",
            "tests/contracts/test_between_processes.py::test_a_second_writer_is_refused_until_the_first_has_ended_however_it_ends",
        ),
    ),
    Fault(
        "F33",
        "wrong settings",
        "misspelt names, wrong types, contradictions",
        "all of them at once, exit 2",
        ("tests/unit/test_settings.py",),
    ),
    Fault(
        "F34",
        "the checkpoint's disk is full",
        "a file system of 8 MB that is filled while the job runs",
        "I9: exit 7 or 8; I1 to I8 when there is room again",
        ("tests/faults/test_process.py::test_a_full_checkpoint_disk_ends_the_job_and_loses_nothing",),
    ),
    Fault(
        "F35",
        "the dead-letter topic is gone",
        "deleted while the job runs, then a bad message",
        "I9: exit 5, nothing is committed; I3 once it is there again",
        ("tests/faults/test_process.py::test_without_its_dead_letter_topic_the_job_stops_and_drops_nothing",),
    ),
    Fault(
        "F36",
        "the host loses power",
        "",
        "the journal of the file system decides",
        not_run="cannot be injected without a machine to switch off; a 0-byte offsets file, its usual trace, is in F31",
    ),
    Fault(
        "F37",
        "the GPU is lost",
        "a device that raises; no CUDA on a task that was given a GPU",
        "the baseline, and the point says so",
        ("tests/spark/test_device.py",),
    ),
    Fault(
        "F38",
        "one batch fails again and again",
        "a decoder that raises for one payload (test build)",
        "I9: exit 7 after four tries, with the batch and its offsets; the next start fails the same way",
        ("tests/faults/test_process.py::test_a_batch_that_always_fails_is_named_and_not_skipped",),
    ),
    Fault(
        "F39",
        "Kafka does not let us in",
        "wrong password, user, authority, name; an expired certificate; no TLS; a right that is missing or taken away",
        "I9: exit 5 with one line that names it, no storm of connections; I12",
        ("tests/stack/security/test_kafka_access.py",),
    ),
    Fault(
        "F40",
        "the store's certificate or our token is not good",
        "unknown, expired, early and foreign certificates, no TLS, unknown and read-only tokens",
        "I9: exit 6 at once, the token is not sent",
        ("tests/contracts/test_influx_tls.py",),
    ),
    Fault(
        "F41",
        "the store lost its scores",
        "its file is deleted, after kills, a swapped artifact and a region that joined; beside the running job",
        "`rebuild` writes them again byte for byte, or says what is gone",
        (
            "tests/stack/test_rebuild.py",
            "tests/contracts/test_batch_log.py",
            "tests/spark/test_rebuilt.py",
        ),
    ),
    Fault(
        "F42",
        "somebody edits the record",
        "any byte of the audit log, any line removed or moved, two writers, a torn end",
        "`audit verify` names the line",
        ("tests/unit/test_audit.py",),
    ),
    Fault(
        "F43",
        "a secret could leak",
        "canaries as password and token, by file and by environment, in a job that runs and one that is refused",
        "I12: in no process's arguments, log, checkpoint, artifact, page, plan",
        (
            "tests/stack/security/test_secrets.py",
            "tests/stack/test_pipeline.py::test_payloads_and_secrets_are_in_no_output_and_person_payloads_nowhere",
            "tests/contracts/test_influx_answers.py::test_the_token_is_in_no_message_traceback_log_or_repr",
        ),
    ),
)
