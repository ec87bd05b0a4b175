"""`s3node inspect`: any structure on the disks, field by field, as a JSON value.

Works on damaged files too: what is damaged is said where the field would have been. Nothing is
written. Files may be looked at any time; a whole disk, and what the metadata says about a key,
only while no node can change them (ConfigError).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from s3node.base.errors import ConfigError
from s3node.base.filesystem import FileSystem
from s3node.services.inspect import disk, frames, keys, segments
from s3node.services.start import Site

Inspector = Callable[[Site | None, FileSystem, Sequence[str]], object]


def _words(kind: str, usage: str, words: Sequence[str], least: int, most: int) -> None:
    if not least <= len(words) <= most:
        raise ConfigError(f"inspect {kind}: give {usage}")


def _number(text: str) -> int:
    try:
        return int(text, 0)
    except ValueError:
        raise ConfigError(f"{text!r} is not a number of bytes") from None


def _site(kind: str, site: Site | None) -> Site:
    if site is None:
        raise ConfigError(f"inspect {kind}: give --data DIR or --config FILE too")
    return site


def _disk(_: Site | None, fs: FileSystem, words: Sequence[str]) -> object:
    _words("disk", "PATH", words, 1, 1)
    return disk.inspect_disk(fs, words[0].rstrip("/"))


def _segment(_: Site | None, fs: FileSystem, words: Sequence[str]) -> object:
    _words("segment", "FILE", words, 1, 1)
    return segments.inspect_segment(fs, words[0])


def _record(_: Site | None, fs: FileSystem, words: Sequence[str]) -> object:
    _words("record", "FILE OFFSET", words, 2, 2)
    return segments.inspect_record(fs, words[0], _number(words[1]))


def _frame(_: Site | None, fs: FileSystem, words: Sequence[str]) -> object:
    _words("frame", "FILE [OFFSET]", words, 1, 2)
    if len(words) == 1:
        return frames.inspect_log(fs, words[0])
    return frames.inspect_frame(fs, words[0], _number(words[1]))


def _key(site: Site | None, fs: FileSystem, words: Sequence[str]) -> object:
    _words("key", "BUCKET KEY", words, 2, 2)
    return keys.inspect_key(_site("key", site), fs, *words)


def _version(site: Site | None, fs: FileSystem, words: Sequence[str]) -> object:
    _words("version", "BUCKET KEY [VERSION]", words, 2, 3)
    return keys.inspect_version(_site("version", site), fs, *words)


INSPECTORS: Mapping[str, Inspector] = {
    "disk": _disk,
    "segment": _segment,
    "record": _record,
    "frame": _frame,
    "key": _key,
    "version": _version,
}
