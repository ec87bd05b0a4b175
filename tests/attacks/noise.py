"""Noise: what is nearly right goes further into a program than what is merely wrong."""

from __future__ import annotations

import random
from collections.abc import Sequence

SCRAPS = (
    *(b"", b"\0", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"%", b"%00", b"%2F", b"%zz"),
    *(
        b";",
        b",",
        b"=",
        b"&",
        b"?",
        b"/",
        b"..",
        b":",
        b'"',
        b"'",
        b"<",
        b">",
        b"</",
        b"<!--",
        b"]]>",
    ),
    *(b"\xff", b"\xc3\xa9", b"\xef\xbb\xbf", b"-", b"+", b"*", b"0", b"9" * 30, b"-1", b"1e9"),
    *(b"<!DOCTYPE a [<!ENTITY b 'c'>]>", b"&b;", b"<a>", b"<?x?>", b"xmlns:x='y'", b"--", b"${"),
)


def broken(rng: random.Random, good: Sequence[bytes]) -> bytes:
    """Something good with a few places changed, cut, doubled or taken from another one."""
    data = rng.choice(good)
    for _ in range(rng.randint(1, 4)):
        at = rng.randint(0, len(data))
        end = rng.randint(at, min(len(data), at + rng.choice((0, 1, 4, 40))))
        kind = rng.randrange(5)
        if kind == 0:
            data = data[:at] + rng.choice(SCRAPS) + data[end:]
        elif kind == 1:
            data = data[:at] + rng.randbytes(rng.randint(0, 3)) + data[end:]
        elif kind == 2:
            data = data[:end] + data[at:end] * rng.randint(1, 9) + data[end:]
        elif kind == 3:
            other = rng.choice(good)
            data = data[:at] + other[rng.randint(0, len(other)) :]
        else:
            data = data[:at] + data[end:]
    return data
