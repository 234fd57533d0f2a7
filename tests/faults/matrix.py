"""The fault matrix: for each fault what is injected, what must hold, and which tests show it.

A test is `path::name`; all its parameters count unless one is named in brackets. Each of them injects the fault.
"""

from dataclasses import dataclass

SCENARIO = "tests/faults/test_scenarios.py::test_every_invariant_holds"
ON_THE_WALL = "tests/faults/test_scenarios.py::test_every_invariant_holds_on_the_wall_clock"
IN_SCENARIO = "I1 to I10, I12"
OUTCOMES = "tests/faults/test_outcomes.py::test_every_outcome_that_is_due_is_stored_as_recounted"


@dataclass(frozen=True)
class Fault:
    id: str
    what: str
    injected: str
    holds: str
    tests: tuple = ()
    not_run: str = ""  # why there is no test


def of(path, *names):
    """Several tests of one file."""
    return tuple(f"{path}::{name}" for name in names)


FAULTS = (
    Fault(
        "F00",
        "none",
        "the same scenario without a fault, on either clock",
        "I1 to I8, I12",
        (f"{SCENARIO}[baseline]", f"{ON_THE_WALL}[baseline]"),
    ),
    Fault(
        "F01",
        "the job is killed",
        "SIGKILL to the process group: at a random time, between batches, after the offsets, in the middle of the "
        "store's write, after the write before the commit; at seven hours at which a forecast is kept and horizons "
        "close, also between that forecast and the commit",
        f"{IN_SCENARIO}; I13",
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
            *(f"{ON_THE_WALL}[{name}]" for name in ("kill_after_write", "kill_in_write")),
            f"{OUTCOMES}[kills]",
            "tests/stack/test_kill.py::"
            "test_four_kills_at_four_points_change_neither_scores_nor_ledger_nor_dead_letters",
        ),
    ),
    Fault(
        "F02",
        "the job is told to stop",
        "SIGTERM to the process, SIGTERM and SIGINT to its group, a restart in the middle of the load",
        f"exit 0 without a trace; of the restart in the middle of the load {IN_SCENARIO}",
        (
            f"{SCENARIO}[restart]",
            f"{ON_THE_WALL}[restart]",
            "tests/stack/test_pipeline_failures.py::test_a_signal_to_all_processes_leaves_no_trace",
            "tests/stack/test_pipeline.py::test_sigterm_ends_the_job_with_exit_code_0_one_line_and_no_trace",
        ),
    ),
    Fault(
        "F03",
        "the job is frozen",
        "SIGSTOP to the process group for 60 s, events meanwhile",
        "I1 to I5, I7, I8, I10",
        ("tests/faults/test_process.py::test_a_job_that_is_frozen_for_a_minute_catches_up",),
    ),
    Fault(
        "F04",
        "an executor is killed",
        "SIGKILL to one of two executors in `local-cluster[2,1,1024]`",
        "another one takes its place; I1 to I5, I7, I8: every score is the artifact's; I10",
        ("tests/faults/test_process.py::test_a_killed_executor_is_replaced",),
    ),
    Fault(
        "F05",
        "Python workers are killed",
        "SIGKILL to all of them in the middle of a task, three times; one that ends with 137 at every try, as under an "
        "out-of-memory killer",
        "I3 to I6: points and dead letters are those of an undisturbed run; I9: after four tries the failure of code 7 "
        "says it, nothing is committed",
        of(
            "tests/spark/test_disturbed.py",
            "test_killed_python_workers_cost_a_retry_and_nothing_else",
            "test_a_python_worker_that_dies_at_every_try_ends_the_job_and_nothing_is_committed",
        ),
    ),
    Fault(
        "F06",
        "Kafka is away",
        "nobody listens at the start; the broker stops for 4 s, and until Spark's query has failed; it is "
        "frozen for 8 s and for 75 s; the way to it is cut, refused for 9 s, silent for 8 s, slowed to 0.2 s a packet; "
        "events are sent while it is stopped or frozen",
        f"{IN_SCENARIO}: said within seconds where nobody listens, after a minute where somebody is silent; exit 5 "
        "when it stays away",
        (
            f"{SCENARIO}[broker_restart]",
            f"{ON_THE_WALL}[broker_restart]",
            f"{SCENARIO}[broker_freeze]",
            f"{SCENARIO}[broker_freeze_long]",
            *(f"{SCENARIO}[kafka_{what}]" for what in ("cut", "down", "hangs", "slow")),
            "tests/stack/test_pipeline_failures.py::test_a_broker_that_does_not_listen",
            "tests/stack/test_pipeline_failures.py::"
            "test_a_broker_that_ends_while_the_job_runs_is_noticed_and_waited_for",
        ),
    ),
    Fault(
        "F07",
        "Kafka is killed",
        "SIGKILL to the broker while events are sent, restart after 4 s",
        f"{IN_SCENARIO}: what was acknowledged is there, the rest is counted if it is",
        (
            f"{SCENARIO}[broker_kill]",
            "tests/stack/test_broker.py::test_it_answers_keeps_its_topics_over_a_kill_and_leaves_no_process",
        ),
    ),
    Fault(
        "F08",
        "Kafka deletes events before they are read",
        "records deleted while the job is stopped, and while it runs",
        "I9: exit 9 that counts the offsets by partition; nothing is written",
        of(
            "tests/stack/test_checkpoint.py",
            "test_a_checkpoint_is_for_one_job_one_topic_and_its_settings",
            "test_what_kafka_loses_under_a_running_job_is_told_as_at_a_start",
        ),
    ),
    Fault(
        "F09",
        "the topic is deleted and made anew",
        "by the admin API, while the job is stopped and while it runs, then shorter and longer than what was read",
        "I9: exit 8 that names both ids",
        (
            *of(
                "tests/stack/test_checkpoint.py",
                "test_a_checkpoint_is_for_one_job_one_topic_and_its_settings",
                "test_what_kafka_loses_under_a_running_job_is_told_as_at_a_start",
                "test_a_topic_that_was_made_anew_and_grew_past_what_was_read_ends_the_running_job",
            ),
            "tests/unit/disk/test_guard.py::test_a_topic_that_was_made_anew_is_refused",
        ),
    ),
    Fault("F10", "partitions are added", "two more while it runs", IN_SCENARIO, (f"{SCENARIO}[partitions]",)),
    Fault(
        "F11",
        "poison messages",
        "112 kinds, between good ones",
        "I2, I3, neighbours are counted",
        (
            "tests/stack/test_pipeline.py::"
            "test_every_kind_of_bad_message_becomes_a_dead_letter_with_its_reason_and_place",
            "tests/stack/test_pipeline.py::test_neighbours_of_bad_messages_are_counted_and_every_ledger_balances",
            "tests/contracts/test_event_contract.py::test_every_example_and_every_poison_is_judged_alike",
            "tests/contracts/test_event_contract.py::"
            "test_any_message_has_one_outcome_the_same_twice_and_never_one_that_the_schema_refuses",
            f"{SCENARIO}[baseline]",
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
        "60 messages of 900 kB (54 MB) between good events; 150,000 of 8 kB (1.2 GB) in one batch",
        "I1 to I5, I7, I8; a message beyond the limit reaches no parser, and a task keeps no more payload than it may",
        (
            "tests/faults/test_process.py::test_giant_messages_are_refused_and_their_neighbours_counted",
            "tests/stack/test_flood.py::"
            "test_a_batch_of_rubbish_larger_than_sparks_limit_is_refused_and_its_neighbours_counted",
            "tests/unit/flow/test_decode_stage.py::"
            "test_a_flood_of_rubbish_keeps_every_place_and_no_more_payload_than_a_task_may",
            "tests/contracts/test_event_contract.py::test_a_message_beyond_the_limit_reaches_no_parser",
        ),
    ),
    Fault(
        "F14",
        "the same event again",
        "in the same batch, in another one, after a restart",
        "I1, I2",
        (
            "tests/spark/test_scored.py::"
            "test_counts_ledger_and_dead_letters_equal_a_recount_and_scores_the_offline_path",
            "tests/unit/counting/test_count_state.py::test_batch_boundaries_change_nothing",
            "tests/unit/counting/test_count_state.py::test_a_restart_from_the_stored_blobs_equals_no_restart",
        ),
    ),
    Fault(
        "F15",
        "the same id with other content",
        "higher, equal and lower revisions, cancellations",
        "I1: the highest revision counts",
        ("tests/unit/counting/test_count_state.py::test_counts_and_ledger_equal_a_recount_of_the_final_revisions",),
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
            "tests/unit/schemas/test_decode.py::test_the_limits_themselves_are_inside",
            f"{SCENARIO}[baseline]",
        ),
    ),
    Fault(
        "F18",
        "events of the far future",
        "2099, 40 days ahead, a second outside of the limit",
        "I2, I3: `future`; no clock moves",
        (
            "tests/unit/schemas/test_decode.py::test_the_limits_themselves_are_inside",
            "tests/unit/schemas/test_decode_clock.py::test_a_kafka_timestamp_ahead_of_the_real_time_makes_the_message_future",
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
            "tests/unit/schemas/test_decode.py::"
            "test_a_kafka_timestamp_that_is_no_time_refuses_the_event_and_nothing_else_happens",
            "tests/stack/test_pipeline_failures.py::test_a_kafka_timestamp_that_spark_cannot_read_is_named",
        ),
    ),
    Fault(
        "F20",
        "the host's clock steps",
        "an hour back under the running job, Java too (a preloaded clock); an hour back and an hour ahead, by the "
        "injected clock",
        "I1 to I5, I7, I8, I10; what a right clock stamps is refused as `future`, with its place, while ours is behind",
        (
            "tests/faults/test_clock.py::test_a_machines_clock_that_is_set_back_an_hour_stops_no_score",
            "tests/spark/test_clock_steps.py::test_a_clock_that_steps_an_hour_back_and_ahead_moves_no_region_back",
            "tests/spark/test_clock_steps.py::"
            "test_events_of_a_right_clock_are_refused_with_their_place_while_the_hosts_is_an_hour_behind",
        ),
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
        "and 5,000 bytes, an acknowledgement that is lost; where horizons close: refused connections until the job has "
        "ended, 503, a cut body, a lost acknowledgement",
        f"{IN_SCENARIO}: the stream waits, then exit 6; I13",
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
            f"{ON_THE_WALL}[store_down]",
            f"{OUTCOMES}[store]",
            "tests/unit/sinks/test_influx_answers.py::test_a_busy_store_is_asked_again_until_it_takes_the_lines",
            "tests/unit/sinks/test_influx_answers.py::test_a_store_says_how_long_to_wait",
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
        ("tests/unit/sinks/test_influx_answers.py::test_the_first_bad_line_is_counted_from_the_start_of_the_write",),
    ),
    Fault(
        "F24",
        "the store takes a part",
        "422 for retention, for a type conflict, a limit of the store, a bad field name",
        "dropped points that are too old are counted; everything else stops",
        (
            "tests/unit/sinks/test_influx_answers.py::test_points_beyond_the_retention_are_counted_and_the_rest_goes_on",
            "tests/unit/sinks/test_influx_answers.py::test_points_lost_for_another_reason_stop_the_write",
        ),
    ),
    Fault(
        "F25",
        "the store's disk is full",
        "500 with `no space left on device`; a full file system under the file sink (its answer, not a real one)",
        "tried again, then exit 6",
        (
            "tests/unit/sinks/test_influx_answers.py::test_a_store_whose_disk_is_full_is_tried_again_and_then_given_up",
            "tests/unit/sinks/test_file_sink.py::test_a_full_disk_fails_the_write_and_the_next_one_leaves_no_torn_line",
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
            "tests/unit/sinks/test_influx_answers.py::test_a_refusal_is_not_tried_again_and_names_its_remedy",
            "tests/stack/test_pipeline_failures.py::test_a_store_that_refuses_while_the_job_runs",
        ),
    ),
    Fault(
        "F28",
        "a damaged artifact",
        "files missing, cut, bit-flipped, linked, a pickle inside, half copied",
        "refused with the reason; the old one stays; damaged weights leave the baseline",
        (
            *of(
                "tests/unit/artifact/test_artifact.py",
                "test_a_flipped_bit_is_found_in_every_file_and_spares_the_baseline_only_in_the_weights",
                "test_a_file_that_was_cut_off_is_refused_and_spares_the_baseline_only_in_the_weights",
            ),
            "tests/unit/artifact/test_artifact.py::test_a_missing_file_is_named",
            "tests/unit/artifact/test_artifact.py::test_missing_weights_leave_the_baseline",
            "tests/unit/artifact/test_artifact.py::test_a_file_that_does_not_belong_is_refused",
            "tests/unit/artifact/test_artifact.py::test_a_link_is_refused_even_to_the_right_bytes",
            "tests/unit/artifact/test_artifact.py::test_a_renamed_folder_is_refused",
            "tests/unit/artifact/test_artifact.py::test_a_changed_spec_or_an_unknown_field_is_refused",
            "tests/unit/artifact/test_hostile_artifact.py::test_no_file_whose_hash_is_wrong_reaches_a_parser",
            "tests/unit/artifact/test_hostile_artifact.py::test_a_pickle_in_a_correctly_listed_npz_is_never_opened",
            "tests/unit/artifact/test_hostile_artifact.py::test_a_pickle_in_place_of_the_weights_leaves_the_baseline",
            "tests/unit/artifact/test_hostile_artifact.py::test_the_manifest_can_list_the_four_files_and_no_other_path",
            "tests/unit/artifact/test_hostile_artifact.py::test_a_file_that_is_a_link_out_of_the_folder_is_not_followed",
            "tests/unit/artifact/test_hostile_artifact.py::test_a_folder_that_is_a_link_is_refused",
            "tests/unit/artifact/test_hostile_artifact.py::test_an_npz_that_unpacks_to_more_than_is_sane_is_not_unpacked",
            "tests/unit/artifact/test_hostile_artifact.py::test_a_shape_that_its_bytes_do_not_fill_takes_no_memory",
            "tests/unit/artifact/test_hostile_artifact.py::test_weights_that_claim_to_be_huge_leave_the_baseline",
            "tests/unit/artifact/test_hostile_contents.py::test_a_manifest_that_is_no_json_of_ours_is_refused",
            *of(
                "tests/unit/artifact/test_hostile_contents.py",
                "test_whatever_stands_in_a_manifest_it_is_usable_or_an_artifact_error",
                "test_whatever_bytes_a_correctly_listed_file_has_it_is_usable_or_an_artifact_error",
                "test_whatever_is_in_an_npz_it_is_plain_numbers_or_an_artifact_error",
            ),
            "tests/unit/roster/test_roster.py::test_a_newer_artifact_takes_over_and_a_damaged_one_does_not",
            "tests/unit/roster/test_roster.py::test_no_bytes_in_a_newer_artifact_stop_the_job",
            "tests/unit/roster/test_roster.py::"
            "test_a_copy_that_has_not_come_to_its_end_waits_while_a_sound_artifact_is_in_force",
        ),
    ),
    Fault(
        "F29",
        "an artifact of another spec",
        "other categories, another tick, features that this program does not compute",
        "refused; the stored counts are not touched",
        (
            "tests/spark/test_artifacts.py::test_an_artifact_of_another_spec_is_refused_and_the_old_one_stays",
            "tests/spark/test_region_counter.py::test_stored_counts_of_another_spec_are_not_touched",
            "tests/unit/roster/test_roster.py::test_another_spec_is_refused_while_the_counts_of_the_old_one_are_kept",
            "tests/unit/artifact/test_hostile_contents.py::test_features_that_this_program_does_not_compute_are_named",
        ),
    ),
    Fault(
        "F30",
        "a model that gives nonsense",
        "NaN weights, weights that do not fit, scores out of range",
        "the baseline, and the point says so; I8",
        (
            "tests/unit/artifact/test_hostile_network.py::test_weights_that_are_no_numbers_leave_the_baseline",
            "tests/unit/artifact/test_hostile_network.py::"
            "test_a_network_that_gives_no_usable_number_leaves_the_baseline_and_the_score_says_so",
            "tests/spark/test_artifacts.py::test_a_damaged_network_leaves_the_baseline_and_the_score_says_so",
            "tests/unit/artifact/test_hostile_network.py::test_weights_that_do_not_fit_leave_the_baseline",
            "tests/unit/sinks/test_lines.py::test_a_value_that_is_no_number_in_its_range_is_never_written",
            "tests/unit/sinks/test_lines.py::test_a_risk_above_one_is_never_written",
            "tests/unit/sinks/test_lines.py::test_a_count_or_support_that_cannot_be_is_never_written",
        ),
    ),
    Fault(
        "F31",
        "a damaged checkpoint",
        "offsets cut to 0 bytes; the last offsets, metadata or state deleted; a bit flipped in the state's newest "
        "changes, in its snapshot, in the tables of the snapshot, these with and without the changes that led to them; "
        "the last commit deleted",
        "I9: exit 8 with the remedy, nothing is written; without its commit the last batch is repeated and nothing is "
        "counted twice; a damaged snapshot gives the same scores where the changes since the beginning are there",
        (
            "tests/faults/test_checkpoint_damage.py::test_a_damaged_checkpoint_is_named_and_nothing_is_written",
            "tests/faults/test_checkpoint_damage.py::test_a_batch_whose_commit_was_lost_is_repeated",
            "tests/faults/test_checkpoint_damage.py::"
            "test_a_damaged_snapshot_is_made_up_for_by_the_changes_since_the_beginning",
            "tests/unit/disk/test_guard.py::test_a_checkpoint_that_lost_a_part_is_refused_before_anything_is_touched",
        ),
    ),
    Fault(
        "F32",
        "two jobs on one checkpoint",
        "a second process",
        "I9: exit 8 that names the first",
        (
            "tests/stack/test_checkpoint.py::test_a_checkpoint_is_for_one_job_one_topic_and_its_settings",
            "tests/unit/disk/test_between_processes.py::test_a_second_writer_is_refused_until_the_first_has_ended_however_it_ends",
        ),
    ),
    Fault(
        "F33",
        "wrong settings",
        "misspelt names, wrong types, contradictions",
        "all of them at once, exit 2",
        (
            "tests/contracts/test_settings.py::test_an_unknown_setting_is_refused_with_the_nearest_name",
            "tests/contracts/test_settings.py::test_an_unknown_setting_like_no_other_gets_no_guess",
            "tests/contracts/test_settings.py::test_dead_letters_must_not_go_back_into_the_topic_of_events",
            "tests/contracts/test_settings.py::test_an_address_for_figures_that_cannot_be_is_refused",
            "tests/contracts/test_settings.py::test_a_trigger_must_be_a_number_of_its_range",
            "tests/contracts/test_settings.py::test_all_mistakes_are_listed_at_once",
            "tests/contracts/test_settings.py::"
            "test_a_misspelt_setting_of_the_store_is_refused_and_the_clients_own_ones_are_not",
        ),
    ),
    Fault(
        "F34",
        "the checkpoint's disk is full",
        "a file system of 8 MB that is filled while the job runs",
        "I9: exit 7 or 8; I1 to I5, I7, I8 and I10 when there is room again",
        ("tests/faults/test_process.py::test_a_full_checkpoint_disk_ends_the_job_and_loses_nothing",),
    ),
    Fault(
        "F35",
        "the dead-letter topic is gone",
        "deleted while the job runs, then a bad message",
        "I9: exit 5, nothing more is committed; I1 to I5, I7, I8 and I10 once it is there again",
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
        "a device that raises when the network is moved to it or asked; no CUDA on a task that was given a GPU",
        "the baseline, and the point says so; without CUDA the network, on the CPU",
        (
            "tests/spark/test_device.py::test_a_device_that_is_lost_leaves_the_baseline_and_the_score_says_so",
            "tests/spark/test_device.py::test_a_task_takes_the_gpu_it_was_given_and_the_cpu_where_there_is_no_cuda",
        ),
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
        (
            "tests/stack/security/test_kafka_access.py::"
            "test_what_is_wrong_is_said_once_with_the_remedy_and_not_tried_again",
            "tests/stack/security/test_kafka_access.py::test_a_missing_right_is_named_before_anything_is_read",
            "tests/stack/security/test_kafka_access.py::test_a_right_that_is_taken_away_while_the_job_runs_ends_it",
            "tests/stack/security/test_kafka_access.py::test_nobody_may_do_more_than_is_written_down",
        ),
    ),
    Fault(
        "F40",
        "the store's certificate or our token is not good",
        "unknown, expired, early and foreign certificates, no TLS, unknown and read-only tokens",
        "I9: exit 6 at once, the token is not sent",
        (
            "tests/unit/sinks/test_influx_tls.py::test_a_certificate_of_an_unknown_authority_is_refused",
            "tests/unit/sinks/test_influx_tls.py::test_a_certificate_of_another_authority_than_ours_is_refused",
            "tests/unit/sinks/test_influx_tls.py::test_an_expired_certificate_is_refused",
            "tests/unit/sinks/test_influx_tls.py::test_a_certificate_that_begins_tomorrow_is_refused",
            "tests/unit/sinks/test_influx_tls.py::test_a_certificate_for_another_name_is_refused",
            "tests/unit/sinks/test_influx_tls.py::test_an_unknown_and_a_read_only_token_are_refused_over_tls_too",
            "tests/unit/sinks/test_influx_tls.py::test_a_store_without_tls_is_told_from_an_untrusted_one",
        ),
    ),
    Fault(
        "F41",
        "the store lost its scores",
        "its file is deleted, after kills, a swapped artifact and a region that joined; beside the running job",
        "`rebuild` writes them again byte for byte, or says what is gone",
        (
            "tests/stack/test_rebuild.py::test_on_the_events_clock_after_kills_a_swap_and_a_new_region",
            "tests/stack/test_rebuild.py::test_on_the_wall_clock_beside_the_running_job",
            "tests/unit/rebuild/test_batch_log.py::test_of_a_batch_that_was_repeated_the_last_line_counts",
            "tests/unit/rebuild/test_batch_log.py::"
            "test_a_line_that_a_crash_tore_is_not_read_and_is_replaced_by_its_repeat",
            "tests/unit/rebuild/test_batch_log.py::test_counts_are_kept_whole_and_a_damaged_file_is_refused",
            "tests/spark/test_rebuilt.py::"
            "test_a_rebuild_from_the_log_gives_the_points_that_were_stored_over_a_swap_and_a_restart",
        ),
    ),
    Fault(
        "F42",
        "somebody edits the record",
        "any byte of the audit log, any line removed or moved, a torn end; two processes that write at once",
        "`audit verify` names the line; of two writers no line is lost",
        (
            "tests/unit/disk/test_audit.py::test_any_edited_byte_is_found",
            "tests/unit/disk/test_audit.py::test_no_place_is_left_out",
            "tests/unit/disk/test_audit.py::test_an_edited_line_is_named",
            "tests/unit/disk/test_audit.py::test_an_edited_line_that_was_sealed_anew_breaks_the_next",
            "tests/unit/disk/test_audit.py::test_a_removed_line_is_named",
            "tests/unit/disk/test_audit.py::test_lines_that_changed_places_or_came_twice_are_found",
            "tests/unit/disk/test_audit.py::test_two_lines_that_changed_places_are_named",
            "tests/unit/disk/test_audit.py::test_a_missing_tail_is_seen_only_by_a_head_that_was_noted",
            "tests/unit/disk/test_audit.py::test_every_torn_end_is_told_from_an_edit_and_the_chain_goes_on",
            "tests/unit/disk/test_audit.py::test_an_edited_last_line_is_not_taken_for_a_torn_one_by_the_records_after_it",
            "tests/unit/disk/test_between_processes.py::test_two_writers_take_turns",
        ),
    ),
    Fault(
        "F43",
        "a secret could leak",
        "canaries as password and token, by file and by environment, in a job that runs and one that is refused",
        "I12: in no process's arguments, log, checkpoint, artifact, page, plan",
        (
            "tests/stack/security/test_secrets.py::test_no_secret_is_anywhere_but_where_it_was_given",
            "tests/stack/security/test_secrets.py::test_sparks_plans_and_settings_hide_the_jaas_line",
            "tests/stack/test_pipeline.py::test_payloads_and_secrets_are_in_no_output_and_person_payloads_nowhere",
            "tests/unit/sinks/test_influx_answers.py::test_the_token_is_in_no_message_traceback_log_or_repr",
        ),
    ),
    Fault(
        "F44",
        "regions and artifacts change while it runs",
        "a region joins, then a newer artifact of another one",
        IN_SCENARIO,
        (f"{SCENARIO}[region_and_swap]",),
    ),
)
