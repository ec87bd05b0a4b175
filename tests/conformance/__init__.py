"""The conformance suite: every operation that is built, request by request, against S3's pages.

How a case is added: append a row to `CASES` of the file in `cases/` that fits (or make one:
every module there that has a `CASES` is taken). A row is

    ok("GetObject", "a range", get("/bucket/k", Range="bytes=1-2"), 206,
       headers={"content-range": "bytes 1-2/5"}, body=b"23"),
    err("GetObject", "NoSuchKey", get("/bucket/none"), Key="none"),

that is: operation, what it is about (of an error: its code), the request, and what the answer
must have. `scene` names what is there before (`scenes.py`); `{name}` in a request or an
expectation is what the scene calls so. See `case.py` for all that a row can say.

What every row is held to without saying so (`test_conformance.py`): the operation that the node
took it for, as the access log has it; both ids; of a success, that botocore's parser finds
nothing it does not know and a read changed no row; of an error, its code, status, message,
Resource and ids, that it has no other fields than those named, and that no row changed.

For each operation the first row that succeeds is also its example, from which `generic.py` makes
the cases that all operations have (no signature, a wrong one, no such bucket, somebody else's
bucket, headers that are refused, ...). Then three tests see that nothing is left out: every built
operation has successes and errors, every input of botocore's model that travels as a header or a
query parameter is sent in some row of its operation, and every error in `documented.py` occurs.
"""
