"""The fault matrix: which test tries which fault. A test here sees that they exist.

Numbers are those of the matrix that the project keeps; what is not built yet has no row here
(compaction, replication, many processes).
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

MATRIX: dict[str, tuple[str, ...]] = {
    "1 one disk full": (
        "node/test_disk_full.py::test_row_1_one_full_disk_takes_nothing_and_stops_nothing",
        "store/test_failing_writes.py::test_a_full_disk_keeps_its_reserve",
    ),
    "2 all disks full": (
        "node/test_disk_full.py::test_row_2_all_full_reads_deletes_and_restarts_go_on",
    ),
    "4 EIO on read, up to m shards": (
        "store/test_distrust.py::test_unreadable_sectors_are_the_shards_fault",
        "objects/test_store.py::test_any_two_disks_may_lose_everything",
    ),
    "5 EIO on read, m + 1 shards": (
        "objects/test_store.py::test_three_disks_gone_is_an_error_before_the_first_byte",
        "edge/test_s3_listener.py::"
        "test_fault_in_a_stream_is_503_before_and_a_cut_after_the_first_byte",
    ),
    "6 EIO on write": (
        "store/test_simulation.py::test_any_one_call_may_fail",
        "store/test_engine_c.py::test_any_one_call_of_the_engine_may_fail",
        "objects/test_store.py::test_a_disk_that_fails_midway_is_owed_and_then_placed_again",
    ),
    "7 EIO on fsync": (
        "store/test_failing_writes.py::test_a_dead_descriptor_is_never_touched_again",
        "store/test_failing_writes.py::test_what_was_queued_behind_a_failing_sync_is_not_written",
        "simulation/test_filesystem.py::test_a_later_sync_does_not_save_what_a_failed_one_gave_up",
        "simulation/test_faults.py::test_a_failed_sync_of_each_kind",
        "simulation/test_faults.py::test_what_a_dead_segment_had_answered_is_read_back",
        "store/test_failing_writes.py::test_a_dead_segment_is_read_back",
        "meta/test_journal.py::test_a_failed_log_is_read_back_and_what_it_lost_is_fed_anew",
    ),
    "8 the device lied": (
        "simulation/test_faults.py::test_a_failed_sync_of_each_kind",
        "simulation/test_histories.py::test_histories_lose_nothing_that_was_answered",
    ),
    "9 torn write": (
        "simulation/test_recovery_cases.py::"
        "test_an_append_of_several_frames_that_lost_its_first_sectors_is_a_torn_tail",
        "store/test_simulation.py::test_power_cuts_lose_nothing_answered",
        "simulation/test_enumeration.py::test_every_power_cut_in_sequences_of_two",
    ),
    "10 a corrupt record before later commits": (
        "simulation/test_recovery_cases.py::test_a_flipped_bit_in_a_frame_that_was_durable_is_told",
        "simulation/test_recovery_cases.py::"
        "test_sectors_that_a_disk_forgot_below_its_last_append_are_told",
        "store/test_scan.py::test_an_unsealed_tail_is_torn_a_synced_one_corrupt",
        "meta/test_recovery.py::test_flipped_bytes_on_m_disks_are_corruption_and_harmless",
    ),
    "11 power cut": (
        "simulation/test_enumeration.py::test_every_power_cut_in_sequences_of_two",
        "meta/test_crashes.py::test_power_cuts_lose_nothing_that_was_answered",
    ),
    "12 a directory entry is lost": (
        "simulation/test_filesystem.py::test_write_file_is_whole_or_not_at_all",
        "store/test_disks.py::test_a_disk_is_whole_or_no_disk_after_any_crash_of_init",
    ),
    "13 bit flips on disks": (
        "node/test_damage.py::test_flipped_bytes_are_named_and_read_around",
        "node/test_damage.py::test_every_byte_of_every_file",
        "store/test_scan.py::test_every_flipped_byte_is_told_and_no_wrong_byte_is_read",
    ),
    "14 bit flips in the index": (
        "meta/test_index.py::test_every_byte_of_the_seal_and_samples_of_the_data_count",
        "node/test_damage.py::test_every_byte_of_the_index",
    ),
    "15 bit flips in checkpoints and identities": (
        "meta/test_formats.py::test_no_flipped_or_missing_byte_is_accepted",
        "store/test_formats.py::test_every_flipped_bit_is_noticed",
    ),
    "16 bit flips in memory": (
        "objects/test_store.py::test_row_16_a_bit_that_flips_in_memory_is_not_stored",
    ),
    "17 misdirected writes": (
        "store/test_distrust.py::test_a_misdirected_write_is_not_believed",
        "store/test_distrust.py::test_a_record_moved_to_another_disk_or_segment_is_not_believed",
    ),
    "18 up to m disks lost": ("node/test_disk_loss.py::test_two_disks_gone_is_nothing",),
    "19 m + 1 disks lost": (
        "simulation/test_faults.py::"
        "test_one_disk_more_than_is_covered_fails_loudly_and_never_wrongly",
        "simulation/test_recovery_cases.py::"
        "test_a_disk_that_returns_with_the_longer_tail_of_an_older_epoch",
        "node/test_disk_loss.py::test_three_disks_gone_is_right_bytes_or_a_reason",
        "node/test_damage.py::test_damage_beyond_the_parity_is_an_error_and_never_a_wrong_byte",
    ),
    "20 a disk replaced by an empty one": (
        "meta/test_journal.py::test_a_blank_disk_at_run_time_gets_journal_and_checkpoint",
        "store/test_disks.py::test_missing_foreign_damaged_and_later_disks_are_told",
    ),
    "31 the client hangs up at any byte": (
        "edge/test_http.py::test_hang_up_at_every_byte_of_an_upload",
        "edge/test_s3_listener.py::test_hang_up_at_every_byte_stores_nothing_and_pins_nothing",
    ),
    "32 slow clients": (
        "edge/test_patience.py::test_header_deadline_does_not_move_with_each_byte",
        "node/test_slow_clients.py::test_slow_uploads_and_downloads_stop_nobody",
    ),
    "33 kill -9 at each system call": (
        "node/test_syscalls.py::test_killed_at_each_call",
        "node/test_syscalls.py::test_killed_at_each_call_of_a_start",
    ),
    "34 kill -9 at random moments": (
        "node/test_kill.py::test_kill_9_under_load",
        "simulation/test_kill_then_power_cut.py::test_a_power_cut_in_the_life_after_a_kill",
    ),
    "35 stopped and continued": ("node/test_kill.py::test_stopped_for_a_while_and_continued",),
    "36 the map is full": ("meta/test_index.py::test_a_full_map_grows_while_others_read",),
    "37 stale readers": (
        "meta/test_index.py::"
        "test_row_37_a_reader_killed_while_it_reads_does_not_make_the_file_grow",
        "meta/test_index.py::test_upkeep_frees_what_dead_readers_hold",
    ),
    "38 the index lost under a running node": (
        "node/test_index.py::test_index_cut_under_the_running_node",
    ),
    "39 index ahead of or behind the journal": (
        "meta/test_recovery.py::test_an_index_that_knows_more_makes_the_node_read_only",
        "meta/test_index.py::test_an_old_copy_catches_up",
        "meta/test_recovery.py::test_answered_frames_lost_on_every_disk_after_a_kill_are_told",
    ),
}


@pytest.mark.parametrize("fault", MATRIX)
def test_fault_is_tried(fault: str) -> None:
    for test in MATRIX[fault]:
        path, _, name = test.partition("::")
        tree = ast.parse((TESTS / path).read_text())
        names = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        }
        assert name in names, f"{test} is gone"
