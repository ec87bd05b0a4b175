"""XML, in both directions: small plain trees in, bytes out. Knows no document of S3.

Reading is by expat and refuses what no S3 document needs and attacks live on: doctypes,
entities, processing instructions, deep nesting, endless elements, long namespaces (expat writes
one out with every name in it), text between elements. A namespace is accepted and dropped;
attributes are ignored (S3's request documents carry none that
decide anything). Every refusal is MalformedXML.

Writing: a node is `(name, value)`; the value is text, a number, a truth value, a sequence of
nodes, or None for "leave it out".

Characters that XML 1.0 has no place for (U+0000 to U+001F but tab, line feed and carriage
return, and U+FFFE, U+FFFF) can be in object keys. As at AWS they leave as character references,
which strict parsers refuse: that is what `encoding-type=url` is for
(https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html, "EncodingType").
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias
from xml.parsers import expat

from s3node.base.errors import S3Error
from s3node.base.limits import XML_DEPTH_MAX, XML_ELEMENTS_MAX, XML_NAMESPACE_MAX

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

Value: TypeAlias = "str | int | Sequence[Node] | None"
Node: TypeAlias = tuple[str, Value]


class Element(NamedTuple):
    """An element that was read: either text or children, never both."""

    name: str
    text: str
    children: tuple[Element, ...]


class _Open:
    """An element whose end has not come yet."""

    __slots__ = ("children", "name", "text")

    def __init__(self, name: str) -> None:
        self.name = name
        self.text: list[str] = []
        self.children: list[Element] = []


class _Builder:
    """Collects expat's events into one tree within the bounds."""

    def __init__(self) -> None:
        self.root: Element | None = None
        self.open: list[_Open] = []
        self.count = 0

    def start(self, name: str, _attributes: Mapping[str, str]) -> None:
        self.count += 1
        if self.count > XML_ELEMENTS_MAX or len(self.open) >= XML_DEPTH_MAX:
            raise malformed()
        self.open.append(_Open(name.rpartition(" ")[2]))

    def namespace(self, _prefix: str | None, uri: str | None) -> None:
        if uri is not None and len(uri) > XML_NAMESPACE_MAX:
            raise malformed()

    def text(self, text: str) -> None:
        self.open[-1].text.append(text)

    def end(self, _name: str) -> None:
        done = self.open.pop()
        text = "".join(done.text)
        if done.children:
            if text.strip():
                raise malformed()
            text = ""
        element = Element(done.name, text, tuple(done.children))
        if self.open:
            self.open[-1].children.append(element)
        else:
            self.root = element


def malformed() -> S3Error:
    """The one error of every XML body that is not what it should be."""
    return S3Error("MalformedXML")


def _refuse(*_event: object) -> None:
    raise malformed()


def parse(data: bytes) -> Element:
    """The document's root element. MalformedXML for everything this module does not read.

    The caller bounds `data`: what was not received cannot be too large.
    """
    builder = _Builder()
    # S3 takes UTF-8 only: what the document declares, or a byte order mark, changes nothing.
    parser = expat.ParserCreate("UTF-8", " ")
    parser.buffer_text = True
    parser.StartNamespaceDeclHandler = builder.namespace
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.text
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    parser.ProcessingInstructionHandler = _refuse
    try:
        parser.Parse(data.decode(), True)
    except (expat.ExpatError, ValueError) as error:
        raise malformed() from error
    if builder.root is None:
        raise malformed()
    return builder.root


def fields(
    element: Element, known: Mapping[str, bool] | frozenset[str], *, repeated: str = ""
) -> dict[str, Element]:
    """The children of `element` by name; an unknown or doubled one is MalformedXML.

    `known` names the children, and as a mapping says which must be there. The one called
    `repeated` may come any number of times and is left out of the answer.
    """
    found: dict[str, Element] = {}
    if element.text.strip():
        raise malformed()
    for child in element.children:
        if child.name == repeated:
            continue
        if child.name not in known or child.name in found:
            raise malformed()
        found[child.name] = child
    if isinstance(known, Mapping) and any(
        needed and name not in found for name, needed in known.items()
    ):
        raise malformed()
    return found


def leaf(element: Element) -> str:
    """The text of an element that has no children."""
    if element.children:
        raise malformed()
    return element.text


_SPECIAL = re.compile('[&<>"\x00-\x1f\ufffe\uffff]')
_NAMED = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "\r": "&#13;", "\n": "&#10;"}


def _escaped(match: re.Match[str]) -> str:
    character = match.group()
    return _NAMED.get(character) or f"&#x{ord(character):x};"


def escape(text: str) -> str:
    """Text as it stands between tags; what is read back is the same, byte for byte."""
    return _SPECIAL.sub(_escaped, text) if _SPECIAL.search(text) else text


class Rendered(str):
    """Elements that are written already: listings have thousands alike. Needs no name."""

    __slots__ = ()


def _write(name: str, value: Value, out: list[str]) -> None:
    if value is None:
        return
    if isinstance(value, Rendered):
        out.append(value)
        return
    if isinstance(value, bool):
        out.append(f"<{name}>{'true' if value else 'false'}</{name}>")
    elif isinstance(value, int):
        out.append(f"<{name}>{value}</{name}>")
    elif isinstance(value, str):
        out.append(f"<{name}>{escape(value)}</{name}>")
    else:
        out.append(f"<{name}>")
        for child_name, child in value:
            _write(child_name, child, out)
        # A tag may carry attributes; its end does not.
        out.append(f"</{name.partition(' ')[0]}>")


def render(root: str, value: Value, *, namespace: str = NAMESPACE) -> bytes:
    """A whole document: declaration, then the root with the namespace ("": without one)."""
    tag = f'{root} xmlns="{namespace}"' if namespace else root
    out = [DECLARATION]
    if isinstance(value, str):
        out.append(f"<{tag}>{escape(value)}</{root}>" if value else f"<{tag}/>")
    else:
        _write(tag, value, out)
    return "".join(out).encode()
