"""The part of the README that is made from the source: `python -m tests.readme` writes it anew.

The README has to describe the format completely by itself; so that no number is written down
twice by hand, its tables are those of the modules, and a test keeps it so.
"""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BEGIN = "<!-- made from the source by python -m tests.readme -->\n"
END = "<!-- end of what is made from the source -->\n"

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


def main() -> None:
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    README.write_text(before + BEGIN + "\n" + generated() + "\n" + END + after)


if __name__ == "__main__":
    main()
