"""The README tells what the source says."""

from __future__ import annotations

import re
from collections import Counter

from s3node.ops import OPERATIONS
from s3node.s3.routes import BUILT
from s3node.s3.unbuilt import OLDER_FORMS, UNBUILT
from tests.conformance import model
from tests.readme import (
    BEGIN,
    END,
    OPERATIONS_BEGIN,
    OPERATIONS_END,
    README,
    ROOT,
    generated,
    operations,
)


def test_format_is_told_as_the_source_has_it() -> None:
    text = README.read_text()
    told = text.partition(BEGIN)[2].partition(END)[0].strip()
    assert told == generated().strip(), "run: python -m tests.readme"


def test_operations_are_told_as_the_source_has_them() -> None:
    told = README.read_text().partition(OPERATIONS_BEGIN)[2].partition(OPERATIONS_END)[0].strip()
    assert told == operations().strip(), "run: python -m tests.readme"
    assert set(OPERATIONS) == BUILT, "an operation without a route, or the other way round"


def test_every_operation_of_s3_is_in_the_table() -> None:
    told = Counter(re.findall(r"\w+", operations().partition("|---|")[2]))
    # What browsers send is in no SDK.
    known = {*model.operations(), "OptionsObject", "PostObject"}
    for name in known:
        wanted = 2 if name in OLDER_FORMS.values() else 1
        assert told[name] == wanted, f"{name}: see BUILT in s3/routes.py, and s3/unbuilt.py"
    assert {*BUILT, *UNBUILT, *OLDER_FORMS} == known
    assert not BUILT & UNBUILT.keys()


def test_files_that_are_named_exist() -> None:
    text = README.read_text().partition(BEGIN)[0]
    named = set(re.findall(r"`((?:s3node|ec|csrc|tests|bench|cluster)/[\w./]+\.\w+)`", text))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []
