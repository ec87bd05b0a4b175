"""What this layer did since the start: plain numbers, for metrics and benchmarks."""

from __future__ import annotations

from dataclasses import dataclass, field

from s3node.base.errors import StorageFault


@dataclass(slots=True)
class ObjectCounters:
    objects_written: int = 0
    bytes_written: int = 0  # of objects, before coding
    bytes_read: int = 0
    bytes_copied: int = 0  # from one piece of memory to another, by this layer
    stripes_written: int = 0
    stripes_degraded: int = 0  # read with at least one shard rebuilt
    shards_owed: int = 0  # when their write was answered
    shard_faults: int = 0
    reads_hedged: int = 0  # shards that were not waited for
    fault_reasons: dict[str, int] = field(default_factory=dict)

    def fault(self, fault: StorageFault) -> None:
        """A shard that should have been there was not, or was not right."""
        self.shard_faults += 1
        kind = type(fault).__name__
        self.fault_reasons[kind] = self.fault_reasons.get(kind, 0) + 1
