"""The attacks: which there are, and that each has its tests. A test here sees that they exist.

A test that tries attack N is called `test_nN_...`. Numbers are those of the list that the project
keeps; what is not built yet has none here (processes of other nodes, locks).
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent

MATRIX = {
    1: "deciding headers that no signature covers",
    2: "a host that is not signed",
    3: "headers twice, folded, in odd letters and spaces",
    4: "another framing of the payload than was signed",
    5: "unsigned payloads with a wrong signature, on every route that writes",
    6: "the same with the signature in the query",
    7: "chunks that lie, are missing, reordered, replayed or another request's",
    8: "trailers that are missing, more, unsigned, wrong, endless",
    9: "a payload of another length than declared",
    10: "a payload that does not have its digests",
    11: "dates, days, regions and services of other signatures",
    12: "validity that is none, too long, or over",
    13: "a signature for one request used for another",
    14: "paths that mean two things",
    15: "keys that climb",
    16: "keys that are none, and keys of several lines",
    17: "lines in headers",
    18: "documents that break parsers or are misspelt",
    19: "forms whose policy is bent",
    20: "copies of what may not be read",
    21: "sources of copies that are none",
    22: "conditions that tell something to strangers",
    23: "who claims to be somebody else by a proxy's headers",
    24: "headers that only stores send",
    27: "requests smuggled in others",
    28: "encodings, and bombs in them",
    29: "ranges that are many, inverted or far",
    30: "listings: counts and tokens",
    31: "uploads of others, parts that are none",
}

_NAME = re.compile(r"test_n([0-9]+)_")


@cache
def tried() -> dict[int, int]:
    """How many tests there are of each."""
    found: dict[int, int] = {}
    for path in (TESTS / "attacks").glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match = isinstance(node, ast.FunctionDef) and _NAME.match(node.name)
            if match:
                found[int(match[1])] = found.get(int(match[1]), 0) + 1
    return found


@pytest.mark.parametrize("number", MATRIX)
def test_attack_is_tried(number: int) -> None:
    assert tried().get(number), f"N{number}: {MATRIX[number]}"


def test_no_test_is_of_an_unknown_attack() -> None:
    assert set(tried()) == set(MATRIX)
