"""The lives of a node's processes: one that does all, or a tree of them.

    life         what all lives have in common: a stop that is asked for, broken invariants
    alone        one process: both listeners, the node, SIGTERM and SIGHUP
    supervisor   the parent of engine and edges: sockets, restarts, stop, admin listener
    forking      a child is made: what it inherits and what it must not
    control      what parent and children tell each other
    board        a page of memory that all of them share
    engine_life  the child that owns all writing
    edge_life    a child that speaks HTTP
    sums         the metrics of all processes as one
    change       what of a configuration can change while the node runs

It knows no concrete disk, index or store: the composition root hands in what opens them.
"""
