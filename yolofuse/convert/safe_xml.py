"""Parse untrusted XML into a small tree with line numbers. Document types and entities are refused."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.sax import SAXParseException
from xml.sax.handler import ContentHandler
from xml.sax.xmlreader import AttributesImpl, Locator

from defusedxml import DefusedXmlException, sax

from yolofuse.files import decode_text

_MAX_DEPTH = 30


@dataclass(slots=True)
class Node:
    """An element: its tag, the line it starts in, its text and its children."""

    tag: str
    line: int
    text: str = ""
    children: list[Node] = field(default_factory=list)

    def all(self, tag: str) -> Iterator[Node]:
        """Return the children with this tag."""
        return (child for child in self.children if child.tag == tag)

    def first(self, tag: str) -> Node | None:
        """Return the first child with this tag."""
        return next(self.all(tag), None)

    def only(self, tag: str) -> Node | None:
        """Return the child with this tag. Raises XmlError if there are several."""
        found = [*self.all(tag)]
        if len(found) > 1:
            raise XmlError(found[1].line, f"<{self.tag}> with {len(found)} <{tag}>; which is meant?")
        return found[0] if found else None


class XmlError(ValueError):
    """An error in an XML file, with its line number."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def parse_xml(content: bytes) -> Node:
    """Return the root element.

    Raises:
        XmlError: If it is not XML, declares a document type or an entity, or is nested deeper than 30 elements.
    """
    builder = _Builder()
    try:
        sax.parseString(content, builder, forbid_dtd=True)
    except DefusedXmlException as error:
        kind = type(error).__name__
        raise XmlError(builder.line, f"document types and entities are refused ({kind}); remove them") from None
    except SAXParseException as error:
        line = error.getLineNumber() or builder.line
        raise XmlError(line, f"not valid XML ({error.getMessage()}{_encoding_hint(content)})") from None
    except (LookupError, ValueError) as error:  # an unknown or multi-byte encoding
        if isinstance(error, XmlError):
            raise
        raise XmlError(builder.line, f"not valid XML ({error}); store it as UTF-8") from None
    if builder.root is None:
        raise XmlError(1, "not valid XML (no element)")
    return builder.root


def _encoding_hint(content: bytes) -> str:
    """Return that a text is not in UTF-8, after a semicolon; empty if it is."""
    try:
        decode_text(content)
    except ValueError as error:
        return f"; it {error}"
    return ""


class _Builder(ContentHandler):
    _locator: Locator | None  # set by the base class

    def __init__(self) -> None:
        super().__init__()
        self.root: Node | None = None
        self._open: list[Node] = []

    @property
    def line(self) -> int:
        return (self._locator.getLineNumber() if self._locator else None) or 1

    def startElement(self, name: str, attrs: AttributesImpl) -> None:  # noqa: N802  the interface's name
        node = Node(name, self.line)
        if len(self._open) >= _MAX_DEPTH:
            raise XmlError(self.line, f"more than {_MAX_DEPTH} elements inside one another")
        if self._open:
            self._open[-1].children.append(node)
        else:
            self.root = node
        self._open.append(node)

    def endElement(self, name: str) -> None:  # noqa: N802
        self._open.pop()

    def characters(self, content: str) -> None:
        if self._open:
            self._open[-1].text += content
