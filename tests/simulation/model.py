"""What clients were told, and what may therefore be found.

Per key the values that may be there: what the last answer left, and whatever was asked for and
not answered since. What is found once is then the only one: it may not change by itself.
A version that was answered while versioning was enabled is there until it is deleted by its id.
`OPERATIONS` are what the enumeration is made of; each tells the model before it asks and after
it was answered.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from s3node.base.limits import INLINE_BYTES_MAX
from tests.ops.world import Answer
from tests.simulation.node import Client

BUCKET = "/bucket"
Value = bytes | None


class Model:
    def __init__(self) -> None:
        self.may: dict[str, tuple[Value, ...]] = {}
        self.kept: dict[tuple[str, str], bytes] = {}  # by key and version id, oldest first
        self.asked = 0

    def copy(self) -> Model:
        other = Model()
        other.may, other.kept, other.asked = dict(self.may), dict(self.kept), self.asked
        return other

    def key(self) -> tuple[object, ...]:
        """Equal for models that allow the same."""
        return tuple(sorted(self.may.items())), tuple(sorted(self.kept))

    def fresh(self, size: int) -> bytes:
        """Bytes that no other request had."""
        self.asked += 1
        return (b"%08d/" % self.asked * (size // 9 + 1))[:size]

    def begin(self, key: str, value: Value) -> None:
        self.may[key] = (*self.may.get(key, (None,)), value)

    def done(self, key: str, value: Value) -> None:
        self.may[key] = (value,)

    def keep(self, key: str, version: str, value: Value) -> None:
        """A write was answered with this version id."""
        if value is not None and version not in {"", "null"}:
            self.kept[key, version] = value

    def oldest(self, key: str) -> str | None:
        """A version of the key that is not its current one."""
        found = [version for name, version in self.kept if name == key]
        return found[0] if len(found) > 1 else None

    def refused(self, key: str) -> None:
        """An answer that says that nothing was done."""
        self.may[key] = self.may[key][:-1]

    def found(self, key: str, value: Value) -> None:
        allowed = self.may.get(key, (None,))
        assert value in allowed, f"{key}: found {_brief(value)}, not {[*map(_brief, allowed)]}"
        self.may[key] = (value,)


def _brief(value: Value) -> str:
    return "nothing" if value is None else f"{value[:9]!r} ({len(value)} bytes)"


# --- requests --------------------------------------------------------------------------------


async def change(
    client: Client, model: Model, key: str, value: Value, *request: object, **headers: str
) -> int:
    """Ask for what gives `key` this value; the answer's status."""
    model.begin(key, value)
    method, query, body = request
    answer = await client.ask(str(method), f"{BUCKET}/{key}", str(query), body, **headers)
    assert answer.status != 400, f"what is asked for here is never malformed: {answer}"
    if answer.status < 300:
        model.done(key, value)
        model.keep(key, answer.headers.get("x-amz-version-id", ""), value)
    elif answer.status not in (503, 507, 500):
        model.refused(key)
    return answer.status


async def put(client: Client, model: Model, key: str, size: int) -> int:
    body = model.fresh(size)
    return await change(client, model, key, body, "PUT", "", body)


async def delete(client: Client, model: Model, key: str) -> int:
    return await change(client, model, key, None, "DELETE", "", b"")


async def versioning(client: Client, status: str) -> int:
    """Changes nothing of what is there, but what becomes of what is written later."""
    text = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>"
    return (await client.ask("PUT", BUCKET, "versioning", text.encode())).status


async def remove(client: Client, model: Model, key: str) -> int:
    """The oldest version of a key that is known, if it is not the current one."""
    version = model.oldest(key)
    if version is None:
        return 404
    del model.kept[key, version]  # in doubt from now on
    return (await client.ask("DELETE", f"{BUCKET}/{key}", f"versionId={version}")).status


async def copy(client: Client, model: Model, source: str, key: str) -> int:
    """The source must not be changed meanwhile."""
    value, *doubts = model.may.get(source, (None,))
    if value is None or doubts:
        return 404  # what would be copied is not known
    header = quote(f"{BUCKET}/{source}")
    return await change(client, model, key, value, "PUT", "", b"", x_amz_copy_source=header)


async def multipart(client: Client, model: Model, key: str, sizes: tuple[int, ...]) -> int:
    """Created, its parts sent, completed; one part too many, which is not named."""
    path = f"{BUCKET}/{key}"
    begun = await client.ask("POST", path, "uploads")
    if begun.status != 200:
        return begun.status
    upload = begun.text("UploadId")
    root = ET.Element("CompleteMultipartUpload")
    bodies = [model.fresh(size) for size in sizes]
    for number, body in enumerate([*bodies, b"unlisted"], 1):
        sent = await client.ask("PUT", path, f"partNumber={number}&uploadId={upload}", body)
        if sent.status != 200:
            return sent.status
        if number <= len(bodies):
            part = ET.SubElement(root, "Part")
            ET.SubElement(part, "PartNumber").text = str(number)
            ET.SubElement(part, "ETag").text = sent.etag
    document = ET.tostring(root)
    whole = b"".join(bodies)
    return await change(client, model, key, whole, "POST", f"uploadId={upload}", document)


# --- what the enumeration is made of ---------------------------------------------------------

SMALL, LARGE = 100, INLINE_BYTES_MAX + 1000

Step = Callable[[Client, Model], Awaitable[object]]


async def checkpoint(client: Client, model: Model) -> None:
    checkpointer = client.node.metadata.checkpointer
    assert checkpointer is not None
    await checkpointer.round(everything=True)


async def lose_a_disk(client: Client, model: Model) -> int:
    """One disk does not answer any more; somebody writes."""
    client.universe.lose(1)
    return await put(client, model, "while", SMALL)


OPERATIONS: dict[str, Step] = {
    "put small": lambda client, model: put(client, model, "small", SMALL),
    "put large": lambda client, model: put(client, model, "large", LARGE),
    "overwrite": lambda client, model: put(client, model, "base", LARGE),
    "delete": lambda client, model: delete(client, model, "base"),
    "complete": lambda client, model: multipart(client, model, "parts", (LARGE, 10)),
    "copy": lambda client, model: copy(client, model, "other", "copied"),
    "checkpoint": checkpoint,
    "disk loss": lose_a_disk,
}


async def begin(client: Client, model: Model) -> None:
    """What is there before anything else."""
    assert (await client.ask("PUT", BUCKET)).status == 200
    for key in ("base", "other"):
        assert await put(client, model, key, LARGE) == 200


async def read_everything(client: Client, model: Model) -> int:
    """Every key has a value that it may have, and the listing says so; how many were looked at."""
    listed = await client.ask("GET", BUCKET, "list-type=2")
    assert listed.status == 200, listed
    sizes = dict(zip(listed.texts("Contents/Key"), listed.texts("Contents/Size"), strict=True))
    etags = dict(zip(listed.texts("Contents/Key"), listed.texts("Contents/ETag"), strict=True))
    assert list(sizes) == sorted(sizes, key=str.encode)
    assert set(sizes) <= set(model.may), "keys that nobody asked for"
    for key in sorted(model.may):
        got = await read(client, model, key)
        if got is None:
            assert key not in sizes
        else:
            assert sizes[key] == str(len(got.body))
            assert etags[key] == got.headers["etag"]
    for (key, version), value in model.kept.items():
        answer = await client.ask("GET", f"{BUCKET}/{key}", f"versionId={version}")
        assert (answer.status, answer.body) == (200, value), (key, version, answer)
    return len(model.may) + len(model.kept)


async def read(client: Client, model: Model, key: str) -> Answer | None:
    """One key has a value that it may have; the answer, if there is an object."""
    got = await client.ask("GET", f"{BUCKET}/{key}")
    if got.status == 404:
        model.found(key, None)
        return None
    assert got.status == 200, (key, got)
    model.found(key, got.body)
    return got
