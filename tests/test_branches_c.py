"""Every branch of the C sources is taken by the test programs of tests/c, measured by gcov.

The engine by its two programs, the sender by its own; the kernels emulated (so that all of them
run on any CPU) with the test in the place of the CPU. What is not compiled or cannot be taken is
listed, with the reason.
"""

from __future__ import annotations

import gzip
import json
import platform
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
CSRC, CTESTS = ROOT / "csrc", ROOT / "tests" / "c"
ANY_CPU = [
    *("-DEMULATED", "-DANY_CPU", "-DGF_TARGET(f)=", "-DGF_CPU_HAS(f)=cpu_has(f)"),
    *("-DMD5_TARGET(f)=", "-DMD5_CPU_HAS(f)=cpu_has(f)", "-DMD5_SETTLE(r)="),
    *("-DXXH3_TARGET(f)=", "-DXXH3_CPU_HAS(f)=cpu_has(f)"),
    *("-DCRC64_TARGET(f)=", "-DCRC64_CPU_HAS(f)=cpu_has(f)"),
    *("-include", str(CTESTS / "any_cpu.h"), f"-I{CTESTS / 'emulated'}"),
]
NOT_COMPILED = {"gf_neon.c"}
"""For aarch64 alone: the deep run runs it under qemu."""

EXCEPTIONS = {
    # The rows of a pass are 1 to 6 by the arithmetic before: in each of five kernels the way
    # past all cases is not taken.
    "gf_dot.h": ["switch (rows) {"] * 5,
    # The same of what folds CRCs.
    "crc64.c": ["return crc64_pclmul && crc64_pclmul->supported();"],
    # Every MD5 kernel is of x86, where this runs: there is none that is not built.
    "md5.c": [
        "if (candidate && candidate->supported()) {",
        "return candidate ? MD5_NO_CPU : MD5_NOT_BUILT;",
    ],
}


class Branches(NamedTuple):
    """Of one source file."""

    total: int
    taken: int
    missed: list[str]  # the text of their lines


def run(command: Sequence[str | Path], cwd: Path) -> str:
    """What it prints, when all goes well."""
    done = subprocess.run(
        command, cwd=cwd, check=False, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def compiled(sources: Iterable[Path], options: Sequence[str], into: Path) -> list[str]:
    """Object files that count; `-O0`, for optimisation joins branches."""
    base = ["gcc", "-O0", "-g", "--coverage", "-pthread", f"-I{CSRC}", *options, "-c"]
    objects = []
    for source in sources:
        objects.append(f"{source.stem}.o")
        run([*base, source, "-o", objects[-1]], into)
    return objects


def branches(folder: Path) -> dict[str, Branches]:
    """By source file of csrc/, over everything that ran in the folder."""
    counts: dict[str, list[tuple[int, int]]] = {}
    for data in folder.glob("*.gcda"):
        run(["gcov", "--json-format", "--branch-probabilities", data.name], folder)
    for report in folder.glob("*.gcov.json.gz"):
        for file in json.loads(gzip.decompress(report.read_bytes()))["files"]:
            path = (folder / file["file"]).resolve()
            if path.parent == CSRC:
                found = counts.setdefault(path.name, [])
                for line in file["lines"]:
                    found += [(line["line_number"], b["count"]) for b in line["branches"]]
    told = {}
    for name, found in counts.items():
        text = (CSRC / name).read_text().splitlines()
        missed = [text[line - 1].strip() for line, count in found if not count]
        missed.sort()
        told[name] = Branches(len(found), len(found) - len(missed), missed)
    return told


def require_all(told: dict[str, Branches], names: Iterable[str]) -> None:
    wanted = set(names)
    assert wanted <= set(told), wanted - set(told)
    for name in sorted(wanted):
        total, taken, missed = told[name]
        print(f"{name}: {taken} of {total} branches taken")
        assert missed == EXCEPTIONS.get(name, []), f"{name}: never taken: {missed}"


def test_every_branch_of_the_engine_is_taken(tmp_path: Path) -> None:
    names = [f"engine{part}.c" for part in ("", "_calls", "_direct", "_queue", "_read", "_write")]
    names.append("system.c")
    formats = [CSRC / "record.c", CSRC / "crc32.c", *sorted(CSRC.glob("xxh3*.c"))]
    objects = compiled([*(CSRC / name for name in names), *formats], ["-std=gnu11"], tmp_path)
    programs = [["engine_test", "1", "10"]]
    programs += [["engine_faults_test", "."], ["engine_direct_test", "."]]
    told = ""
    for program, *arguments in programs:
        source = CTESTS / f"{program}.c"
        command = ["gcc", "-std=gnu11", "-pthread", "--coverage", f"-I{CSRC}", source, *objects]
        run([*command, "-o", program], tmp_path)
        told += run([tmp_path / program, *arguments], tmp_path)
    if "not direct here" in told:  # the temporary folder's file system takes no such writes
        names.remove("engine_calls.c")
    require_all(branches(tmp_path), names)


def test_every_branch_of_the_sender_is_taken(tmp_path: Path) -> None:
    names = ["send.c", "send_calls.c"]
    objects = compiled([CSRC / name for name in [*names, "system.c"]], ["-std=gnu11"], tmp_path)
    options = ["-std=gnu11", "-pthread", "--coverage", f"-I{CSRC}"]
    run(["gcc", *options, CTESTS / "send_test.c", *objects, "-o", "send_test"], tmp_path)
    run([tmp_path / "send_test"], tmp_path)
    require_all(branches(tmp_path), names)


@pytest.mark.parametrize(
    ("stem", "more", "headers"),
    [
        ("gf", [], {"gf_dot.h"}),
        ("md5", [], set()),
        ("record", ["crc32.c", "xxh3*.c"], {"xxh3_take.h"}),
        ("crc64", [], set()),
        ("entry", ["crc32.c", "version_row.c"], set()),
    ],
    ids=["gf", "md5", "record", "crc64", "entry"],
)
def test_every_branch_of_the_kernels_is_taken(
    stem: str, more: list[str], headers: set[str], tmp_path: Path
) -> None:
    if platform.machine() == "aarch64":
        pytest.skip("emulated are the kernels of x86")
    sources = sorted(one for glob in (f"{stem}*.c", *more) for one in CSRC.glob(glob))
    objects = compiled(sources, ["-std=c11", *ANY_CPU], tmp_path)
    program = f"{stem}_test"
    options = ["-std=c11", "-O1", "--coverage", *ANY_CPU, f"-I{CSRC}"]
    run(["gcc", *options, CTESTS / f"{program}.c", *objects, "-lm", "-o", program], tmp_path)
    run([tmp_path / program], tmp_path)
    names = {one.name for one in sources} - NOT_COMPILED
    require_all(branches(tmp_path), {*names, *headers})


@pytest.mark.parametrize("stem", ["stripe", "hasher"])
def test_every_branch_of_a_stripes_job_is_taken(stem: str, tmp_path: Path) -> None:
    """With the kernels of this CPU: those are looked at above."""
    parts = [CSRC / "record_digests.c", *sorted(CSRC.glob("gf*.c")), *sorted(CSRC.glob("md5*.c"))]
    parts += [*sorted(CSRC.glob("xxh3*.c")), *sorted(CSRC.glob("crc64*.c"))]
    parts += [CSRC / "stripe.c", CSRC / "hasher.c", CSRC / "system.c"]
    objects = compiled(parts, ["-std=c11"], tmp_path)
    options = ["-std=c11", "-O1", "-pthread", "--coverage", f"-I{CSRC}"]
    program = f"{stem}_test"
    run(["gcc", *options, CTESTS / f"{program}.c", *objects, "-o", program], tmp_path)
    run([tmp_path / program], tmp_path)
    require_all(branches(tmp_path), [f"{stem}.c"])
