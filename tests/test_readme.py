"""The README tells what the source says."""

from __future__ import annotations

import re

from s3node.ops import OPERATIONS
from tests.readme import BEGIN, END, README, ROOT, generated


def test_format_is_told_as_the_source_has_it() -> None:
    text = README.read_text()
    told = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert told == generated().strip(), "run: python -m tests.readme"


def test_every_operation_is_listed() -> None:
    text = README.read_text()
    missing = [name for name in OPERATIONS if f"`{name}`" not in text and name not in text]
    assert not missing


def test_files_that_are_named_exist() -> None:
    text = README.read_text().partition(BEGIN)[0]
    named = set(re.findall(r"`((?:s3node|ec|csrc|tests|bench|cluster)/[\w./]+\.\w+)`", text))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
