"""Every bound of the project by name; what must hold between them is asserted at import.

A number that limits something stands here once and nowhere else. Units are in the names.
"""

from __future__ import annotations

KIB = 1 << 10
MIB = 1 << 20
GIB = 1 << 30

# --- disks and stripes -----------------------------------------------------------------------

DISKS_MAX = 16
"""Disks of a node, and so k + m at the most."""

STRIPE_BYTES_TARGET = 2 * MIB
"""Object bytes per stripe, rounded down so that every data shard is whole blocks.

Large enough that a spinning disk's transfer outweighs its seek when stripes are read in order,
small enough that sixteen uploads and downloads at once stay within the buffer budget.
"""

INLINE_BYTES_MAX = 4 * KIB
"""Objects up to this size live in their version row: coding them would cost n records whose
headers and syncs outweigh the payload."""

WRITE_BUFFER_BYTES = 128 * MIB
"""Memory for stripes being written, for all requests together."""

WRITE_ARENA_BYTES = 2 * WRITE_BUFFER_BYTES
"""Address space for it: stripes are of many sizes and end in any order, so that there are gaps."""

READ_BUFFER_BYTES = 64 * MIB
"""Memory for stripes being read and sent, for all requests together; beyond it each request has
one step of `READ_STEP_BYTES_MIN` of its own, so that who does not take his answer stops nobody."""

READ_ARENA_BYTES = 2 * READ_BUFFER_BYTES
"""Address space for it; a client's socket may hold some of it longer than the request."""

READ_STEP_BYTES_MIN = 256 * KIB
"""What is read of a stripe at once when memory is short, or for a slow client."""

READ_STRIDE_BYTES = 512 * KIB
"""About what is read at once of a stripe that is in memory: it is in the processor's cache yet when
its digest is taken and when it is sent, and it is what a client is given at once."""

READ_STRIDE_BYTES_MAX = READ_STRIDE_BYTES * 3 // 2
"""Up to this there is one stride and no second, small one."""

CLIENT_SILENCE_S = 0.25
"""A client silent for this long lends the memory that waits for its bytes to others."""

CLIENT_SLOW_S = 1.0
"""A client that needs longer for one step of its answer is read for in small ones."""

OFFLOAD_BYTES_MIN = 32 * KIB
"""Hashing and coding of less than this is done on the event loop: a hop to a thread costs more."""

REBUILD_INLINE_BYTES_MAX = 1 * MIB
"""Shards are rebuilt on the event loop up to this: a third of a millisecond."""

HASH_STEP_BYTES = 512 * KIB
"""Of each stream's bytes this many are hashed before it is looked which other streams have come:
under a millisecond for a lone one, two for a full set of lanes."""

DISK_RESERVE_BYTES = 256 * MIB
"""Room that shards leave on a disk for journal and checkpoints (less on small disks)."""

DISK_RESERVE_SHARE = 32
"""On a small disk the reserve is this fraction (one part in ...) of the whole."""

DISK_LOW_SHARE = 20
"""A disk with less than one in so many bytes free is an alarm: there is still time to act."""

# --- answering writes ------------------------------------------------------------------------

STRAGGLER_GRACE_S = 0.05
"""How long a write that has its quorum waits for the rest before it answers and owes them."""

READ_HEDGE_S = 1.0
"""A shard that takes longer to be read is rebuilt from others: longer than a busy disk's queue,
shorter than a disk's own retries of a bad sector. Where reads usually take less, it is less."""

READ_HEDGE_S_MIN = 0.03
"""It is never less than this: several seeks of a spinning disk."""

READ_HEDGE_S_FIRST = 0.1
"""What it is as long as nothing is known."""

READ_HEDGE_AGAIN_S = 6.0
"""The same once too few shards came in time, for all disks were busy: were there no bound now, a
disk that hangs would stop the read until it is taken out of service."""

# --- S3 --------------------------------------------------------------------------------------

XML_BODY_BYTES_MAX = 8 * MIB
"""A Complete of 10,000 parts with the longest checksums, or 1000 of the longest keys escaped."""

XML_BODIES_BYTES_MAX = 64 * MIB
"""Of all bodies that are received or parsed at once, beyond the first `OFFLOAD_BYTES_MIN` of each:
a request that would need more is answered 503 SlowDown, and waits for nobody's slow client."""

XML_DEPTH_MAX = 8
XML_ELEMENTS_MAX = 100_000
XML_NAMESPACE_MAX = 256
"""Characters; S3's own has 40."""

OBJECT_KEY_BYTES_MAX = 1024
"""Of a key's UTF-8."""

USER_METADATA_BYTES_MAX = 2 * KIB
"""Names without their prefix, and values."""

OBJECT_TAGS_MAX = 10
BUCKET_TAGS_MAX = 50

TAG_KEY_UNITS_MAX = 128
TAG_VALUE_UNITS_MAX = 256
"""In UTF-16, where a character beyond the first 65,536 counts twice."""

WEBSITE_REDIRECT_CHARACTERS_MAX = 2048

UPLOAD_BYTES_MAX = 5 * GIB
"""Of one PutObject, UploadPart or copy."""

CHUNK_BYTES_MIN = 8 * KIB
"""Of every aws-chunked chunk but the last: it bounds the signatures of a payload."""

PART_NUMBER_MAX = 10_000

OBJECT_BYTES_MAX = 5 << 40
"""Of an object made of parts."""

PART_BYTES_MIN = 5 * MIB
"""Of every part but the last."""

FORM_BYTES_MAX = 20 * KIB
"""Of a form that uploads a file, all but the file: fields and delimiters."""

CORS_BYTES_MAX = 64 * KIB
CORS_RULES_MAX = 100
CORS_RULE_ID_LENGTH_MAX = 255

LIST_ENTRIES_MAX = 1000
LIST_BUCKETS_MAX = 10_000
DELETE_KEYS_MAX = 1000

COPIES_MAX = 4
"""Copies at work at once: they can be as fast as the disks, and clients are to be served too."""

VERSIONS_SINCE_MAX = 100
"""A Complete that is sent again looks for what it made among so many versions of the key."""

LIST_ROWS_PER_READ = 512
"""Rows that one read transaction of a listing looks at: long listings are many short reads."""

assert STRIPE_BYTES_TARGET * 8 <= WRITE_BUFFER_BYTES
assert 4 * COPIES_MAX * STRIPE_BYTES_TARGET <= WRITE_BUFFER_BYTES
assert INLINE_BYTES_MAX < STRIPE_BYTES_TARGET

# --- the wire --------------------------------------------------------------------------------

REQUEST_LINE_BYTES_MAX = 16 * KIB
"""Method and target: a key of 1024 bytes is 3 KiB percent-encoded, a presigned query 4 KiB."""

HEADER_FIELD_BYTES_MAX = 16 * KIB
"""Name and value of one header."""

HEADER_FIELDS_MAX = 128
"""Headers of one request."""

HEADER_BYTES_MAX = 64 * KIB
"""Request line and headers together, so that connections cannot pin memory field by field."""

RECEIVE_BUFFER_BYTES = 256 * KIB
"""Body bytes held per request that nobody has asked for; then the socket is no longer read."""

HEAD_RECEIVE_BYTES = 16 * KIB
"""Received at once where a head is expected: of a longer body behind it the most is received where
it is to be."""

SEND_BUFFER_BYTES = 512 * KIB
"""Response bytes that a client is given one `SEND_IDLE_S` to take."""

SEND_ASIDE_BYTES_MIN = 256 * KIB
"""Of a response, at once: less is sent by the loop sooner than a thread that sends is told of it
(even at 128 KiB, 256 KiB cost the loop two thirds)."""

SEND_ASIDE_REQUESTS_MIN = 3
"""At work at once, for the loop to have others to serve while a thread sends."""

COALESCE_BYTES_MAX = 16 * KIB
"""A first piece of a response up to this goes out together with its head."""

CONNECTIONS_MAX = 4096
"""Open connections per listener; one more is answered 503 SlowDown and closed."""

TURNED_AWAY_MAX = 64
"""Connections beyond that which wait for their answer; one more is closed at once."""

ADMIN_CONNECTIONS_MAX = 64
"""The same for the admin listener."""

REQUESTS_MAX = 256
"""Requests being worked on at once; one more is answered 503 SlowDown."""

CLIENT_SHARE = 3 / 4
"""Of the requests, and of the connections, that one client gets when it is alone."""

IDENTITY_SHARE = 15 / 16
"""Of the requests that one identity gets, from wherever they come, when it is alone."""

UNREAD_BYTES_MAX = 256 * KIB
"""A body that nobody wanted is read up to this, to keep the connection; else it is closed."""

LINGER_BYTES_MAX = 64 * MIB
"""Thrown away after a refusal that closes, so that the client gets to read the answer."""

TLS_HANDSHAKE_S = 10.0
HEADER_S = 20.0
"""From the first byte of a request to the end of its headers."""

KEEPALIVE_S = 75.0
"""Of silence between requests (and before the first)."""

BODY_IDLE_S = 30.0
"""Without one body byte from a client that owes some."""

BODY_RATE_WINDOW_S = 60.0
BODY_RATE_BYTES_MIN = 1 * KIB
"""A body must come at this many bytes per second, judged once the client has been waited for
this long in all; time spent on our side does not count."""

OVERDUE_S = 5.0
"""Waited for at less than that rate for so long, a request may be ended to make room for one."""

SEND_IDLE_S = 60.0
"""For the client to take the next `SEND_BUFFER_BYTES` of the response, or what is left of it."""

LINGER_S = 5.0
STOP_GRACE_S = 30.0
"""For requests in progress after SIGTERM."""

CUT_S = 1.0
"""For requests that outlast it to unwind."""

TLS_RELOAD_S = 30.0
"""Between looks at the certificate files."""

RETRY_AFTER_S = 5
"""What a 503 tells clients to wait."""

SWITCH_S = 0.0002
"""For how long a thread that computes in Python keeps the loop from the interpreter. With
CPython's 5 ms a checkpoint holds up every request for as long as it takes to pack a range. (What
a single call into C takes comes on top of it.)"""

DESCRIPTORS_SPARE = 512
"""File descriptors needed beside those of connections: segments, logs, the index, stdio, and
connections that are turned away."""

DESCRIPTORS_MIN = 4096
"""Below this the node does not start."""

assert 4 * XML_BODY_BYTES_MAX <= XML_BODIES_BYTES_MAX
assert READ_HEDGE_S_MIN <= READ_HEDGE_S_FIRST <= READ_HEDGE_S <= READ_HEDGE_AGAIN_S
assert REQUEST_LINE_BYTES_MAX <= HEADER_BYTES_MAX
assert HEADER_FIELD_BYTES_MAX <= HEADER_BYTES_MAX
assert UNREAD_BYTES_MAX <= LINGER_BYTES_MAX
assert BODY_IDLE_S <= BODY_RATE_WINDOW_S
assert REQUESTS_MAX <= CONNECTIONS_MAX
assert CLIENT_SHARE <= IDENTITY_SHARE <= 1
assert REQUESTS_MAX * READ_STEP_BYTES_MIN <= READ_BUFFER_BYTES
assert TURNED_AWAY_MAX < DESCRIPTORS_SPARE < DESCRIPTORS_MIN

# --- configuration ---------------------------------------------------------------------------

DISKS_MIN = 3
"""k + m with m >= 1 and k >= m + 1."""

SETTING_MAX = 65536
"""What a limit in the configuration may be set to at the most."""

EDGES_MAX = 64
"""Processes that speak HTTP."""

ONE_PROCESS_CORES_MAX = 2
"""With so many cores a node is one process by itself: edges would take turns with the engine."""

EDGES_DEFAULT_MAX = 8
"""As many as a node has by itself, however many cores there are: one engine must keep up."""

assert DISKS_MIN <= DISKS_MAX
assert CONNECTIONS_MAX <= SETTING_MAX
