"""Work that nobody's request asks for.

    start        opening the disks, recovering the metadata; making new disks
    monitor      watches the disks of a running node, takes back those that return
    check        offline: is everything there and right?
    inspect      offline: dumps any structure

Uses everything from `ops` down; knows no HTTP and no configuration file.
"""
