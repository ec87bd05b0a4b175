"""The border between the engine's process and those of the edges.

    messages    what crosses: one table, packed and unpacked, every bound checked
    channel     a connected socket: frames of messages, all of one loop turn at once
    door        the engine's side: validates, decides, appends, pins, tells
    link        an edge's side: says hello, and has the two seams below
    remote_kv   `Kv`: reads on the edge's own index, write sets to the engine
    remote_disks  `ShardDisks`: appends by message, payloads in shared memory, reads here

Invariants: an edge trusts the engine; the engine believes nothing that it can check, and bad
input costs an edge its connection. What an edge reads is committed and the newest, as long as
its engine lives: once that is gone, or another one began, nothing more is answered from here.
Nothing here knows HTTP, S3, or how processes are made.
"""
