"""The parts of the README that are made from the source: `python -m tests.readme` writes them anew.

The README has to describe the format completely by itself; so that no number is written down
twice by hand, its tables are those of the modules, and a test keeps it so. The table of operations
is made of what the node itself knows of them.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

from s3node.ops.probes import ABSENT
from s3node.s3.routes import BUILT
from s3node.s3.unbuilt import OLDER_FORMS, UNBUILT

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BEGIN = "<!-- made from the source by python -m tests.readme -->\n"
END = "<!-- end of what is made from the source -->\n"
OPERATIONS_BEGIN = "<!-- operations: made from the source by python -m tests.readme -->\n"
OPERATIONS_END = "<!-- end of the operations -->\n"

FORMATS = {
    "Identity of a disk": "store/identity.py",
    "Epoch of a disk": "store/epoch.py",
    "Segment": "store/segment.py",
    "Record": "store/record.py",
    "Seal of a segment": "store/seal.py",
    "Journal frame": "meta/frame.py",
    "Promise": "meta/promise.py",
    "Checkpoint manifest": "meta/manifest.py",
    "Checkpoint range file": "meta/rangefile.py",
    "Keys": "meta/schema.py",
    "Values": "meta/values.py",
    "Ids": "base/ids.py",
    "Seal of the index": "meta/index_seal.py",
}
ROWS = "model/rows.py"


def _docstring(path: str) -> str:
    text = ast.get_docstring(ast.parse((ROOT / "s3node" / path).read_text()))
    assert text, path
    return text


def _magic(path: str) -> str:
    """The constants that a reader needs, as they stand in the module."""
    lines = (ROOT / "s3node" / path).read_text().splitlines()
    names = (
        "MAGIC",
        "VERSION",
        "BLOCK_MAGIC",
        "FOOTER_MAGIC",
        "FORMAT",
        "BLOCK_BITS",
        "HEAD_BYTES",
    )
    return "\n".join(
        line for line in lines if line.partition(" = ")[0].lstrip("_") in names and " = " in line
    )


def generated() -> str:
    """The text between the two marks."""
    pieces = []
    for title, path in FORMATS.items():
        constants = _magic(path)
        body = _docstring(path) + (f"\n\n{constants}" if constants else "")
        pieces.append(f"### {title}\n\n`s3node/{path}`\n\n```text\n{body}\n```\n")
    rows = (ROOT / "s3node" / ROWS).read_text()
    start = rows.index("class BucketRow")
    source = f"```python\n{rows[start:].strip()}\n```"
    pieces.append(f"### Rows\n\n`s3node/{ROWS}`\n\n{_docstring(ROWS)}\n\n{source}\n")
    return "\n".join(pieces)


def _row(state: str, why: str, operations: Iterable[str]) -> str:
    return f"| {state} | {why} | {', '.join(sorted(operations))} |"


def operations() -> str:
    """The table of every operation of S3."""
    absent = BUILT & ABSENT.keys()
    rows = [
        "| here | | operations |",
        "|---|---|---|",
        _row("implemented", "", BUILT - absent),
        _row("implemented", "answers that nothing of the kind is configured", absent),
    ]
    reasons = sorted(dict.fromkeys(UNBUILT.values()), key=lambda one: not one.planned)
    for reason in reasons:
        state = "planned" if reason.planned else "not"
        rows.append(_row(state, reason.why, [name for name in UNBUILT if UNBUILT[name] == reason]))
    older = [f"{old} ({new})" for old, new in OLDER_FORMS.items()]
    rows.append(_row("as another", "the same on the wire as a newer one", older))
    return "\n".join(rows) + "\n"


def _between(text: str, begin: str, end: str, made: str) -> str:
    before, _, rest = text.partition(begin)
    return before + begin + "\n" + made + "\n" + end + rest.partition(end)[2]


def main() -> None:
    text = _between(README.read_text(), OPERATIONS_BEGIN, OPERATIONS_END, operations())
    README.write_text(_between(text, BEGIN, END, generated()))


if __name__ == "__main__":
    main()
