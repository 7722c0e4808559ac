"""YAML files to one document with places: the first stage of loading a configuration.

    text --compose--> nodes --include--> united nodes --construct--> plain data, and faults
                                              |
                                              +-- locate(path): where a value stands, for every later fault

PyYAML's own loaders would silently take the last of two equal keys, read `on` and `22:22` as a boolean and a number (YAML
1.1), and forget where a value came from. So only its parser is used (the C one where built, 15 times faster), and nodes are
turned into data here: YAML 1.2 core scalars, duplicate keys refused, `${VAR:-default}` and `${file:/path}` put in scalar by
scalar, where they can't change the structure of the document.

Nothing here knows what a listener is. Faults are collected, never raised: one run shows all of them.
"""

from __future__ import annotations

import glob
import io
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, cast

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from mosnpy.config.report import Fault, did_you_mean
from mosnpy.config.scalars import PLAIN, QUOTED, UnresolvedError, composer, resolve, substitute

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Document", "Place", "load_documents", "load_text"]

Path = tuple[str | int, ...]

UNITED = ("listeners", "upstreams", "codecs")
"""Top-level maps that may be spread over files; their entries are united by name."""

_MOST_VALUES = 4_000_000  # of one document, aliases counted each time they are used: 10,000 routes have about 150,000
_MOST_FILES = 10_000
_LARGEST_FILE = 64 << 20


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of one line of a file. line and column are 1-based; `text` is the scalar's text where it is one."""

    file: str
    line: int
    column: int
    width: int
    source: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass
class Document:
    """What was read: plain data, the nodes it came from, and what was wrong so far.

    lines: source lines by file name. names: file names in the order read. whole: False when a part could not be parsed,
    so that what seems missing may stand there. unresolved: where a `${…}` stood for nothing; that fault is enough.
    """

    data: dict[str, Any] = field(default_factory=dict)
    root: MappingNode = field(default_factory=lambda: MappingNode(QUOTED, []))
    lines: dict[str, list[str]] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    whole: bool = True
    unresolved: set[Path] = field(default_factory=set)

    def place(self, path: Path, key: bool = False, text: str = "", offset: int = 0) -> Place | None:
        """Where the value at `path` stands (or, with `key`, its key). None when nothing of it is in a file.

        Steps the document doesn't have are skipped: the nearest enclosing value is the place. With `text` and `offset`
        the place is that of text[offset] where the source shows `text` unchanged.
        """
        node: Node = self.root
        key_node: Node | None = None
        for step in path:
            found = _child(node, step)
            if found is None:
                break
            key_node, node = found
        if key and key_node is not None:
            node = key_node
        if node.start_mark is None:
            return None
        return self._at(node, text, offset)

    def _at(self, node: Node, text: str = "", offset: int = 0) -> Place:
        mark, end = node.start_mark, node.end_mark
        lines = self.lines.get(mark.name, [])
        source = lines[mark.line] if mark.line < len(lines) else ""
        one_line = end is not None and end.line == mark.line
        width = end.column - mark.column if one_line else len(source.rstrip()) - mark.column
        column = mark.column
        if text and isinstance(node, ScalarNode):
            quote = 1 if node.style in ("'", '"') else 0
            if source[column + quote : column + quote + len(text)] == text:
                column, width = column + quote + offset, 1
        return Place(mark.name, mark.line + 1, column + 1, max(1, width), source)

    def fault(
        self,
        path: Path,
        message: str,
        *,
        key: bool = False,
        text: str = "",
        offset: int = 0,
        warning: bool = False,
    ) -> Fault:
        """Records a fault at `path` and returns it. Arguments as `place` has them."""
        place = self.place(path, key, text, offset)
        if text and place is not None and place.source[place.column - 1 - offset :][: len(text)] != text:
            message += f" (at character {offset + 1} of {text!r})"  # escapes, several lines: the source looks different
        fault = _fault(message, place, path, warning)
        if not self.unresolved or not any(path[:end] in self.unresolved for end in range(len(path) + 1)):
            self.faults.append(fault)
        return fault


def _fault(message: str, place: Place | None, path: Path, warning: bool = False) -> Fault:
    dotted = ".".join(str(step) for step in path)
    severity: Literal["error", "warning"] = "warning" if warning else "error"
    if place is None:
        return Fault(message, path=dotted, severity=severity)
    return Fault(message, place.file, place.line, place.column, place.width, place.source, dotted, severity)


def _child(node: Node, step: str | int) -> tuple[Node | None, Node] | None:
    if isinstance(node, SequenceNode) and isinstance(step, int):
        return (None, node.value[step]) if 0 <= step < len(node.value) else None
    if isinstance(node, MappingNode):
        return next(((k, v) for k, v in node.value if isinstance(k, ScalarNode) and k.value == str(step)), None)
    return None


def load_documents(paths: Iterable[str | os.PathLike[str]], env: Mapping[str, str] | None = None) -> Document:
    """Reads and unites configuration files. A folder stands for its *.yaml and *.yml files in lexical order.

    env: where `${VAR}` looks, os.environ by default. Never raises for what an operator can get wrong.
    """
    reader = _Reader(os.environ if env is None else env)
    for path in paths:
        name = os.fspath(path)
        if os.path.isdir(name):
            found = sorted(glob.glob(glob.escape(name) + "/*.yaml") + glob.glob(glob.escape(name) + "/*.yml"))
            if not found:
                reader._say("this folder has no *.yaml file", None, name)
            for each in found:
                reader.read_file(each, None)
        else:
            reader.read_file(name, None)
    return reader.finish()


def load_text(text: str, name: str = "<text>", env: Mapping[str, str] | None = None, base: str = ".") -> Document:
    """Reads one configuration from a string. `name` stands in faults; includes are relative to the folder `base`."""
    reader = _Reader(os.environ if env is None else env)
    reader.read_text(text, name, base)
    return reader.finish()


class _Reader:
    """One load: files in, one document out."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.document = Document()
        self.pairs: list[tuple[Node, Node]] = []  # of the united root
        self.stack: list[str] = []  # files being read, outermost first: an include of one of them is a loop
        self.seen: dict[str, Place | None] = {}  # real path -> where it was included
        self.values = 0

    # -- files ---------------------------------------------------------------------------------------------------

    def read_file(self, name: str, place: Place | None) -> None:
        """Reads one file; `place` is the include that asks for it."""
        real = os.path.realpath(name)
        if real in self.stack:
            chain = " -> ".join([*(os.path.relpath(p) for p in self.stack[self.stack.index(real) :]), name])
            self._say(f"include loop: {chain}", place, name)
            return
        if real in self.seen:
            earlier = f" (at {self.seen[real]})" if self.seen[real] else ""
            self._say(f"{name} is already part of this configuration{earlier}", place, name)
            return
        if len(self.seen) >= _MOST_FILES:
            self._say(f"more than {_MOST_FILES} files", place, name)
            return
        self.seen[real] = place
        try:
            with open(name, "rb") as file:
                raw = file.read(_LARGEST_FILE + 1)
        except OSError as error:
            self._say(f"can't read {name}: {error.strerror or error}", place, name)
            return
        if len(raw) > _LARGEST_FILE:
            self._say(f"{name} is larger than {_LARGEST_FILE >> 20} MiB", place, name)
            return
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw.count(b"\n", 0, error.start) + 1
            column = error.start - raw.rfind(b"\n", 0, error.start)
            self.document.faults.append(Fault("this byte is not UTF-8", file=name, line=line, column=column))
            self.document.whole = False
            return
        self.stack.append(real)
        self.read_text(text, name, os.path.dirname(name))
        self.stack.pop()

    def read_text(self, text: str, name: str, base: str) -> None:
        self.document.lines[name] = text.split("\n")
        root = self._compose(text, name)
        if root is None:
            return
        if not isinstance(root, MappingNode):
            self._say("the file must be a mapping, such as `listeners: …`", self.document._at(root), name)
            return
        includes = None
        own: list[tuple[Node, Node]] = []
        for key, value in root.value:
            if isinstance(key, ScalarNode) and key.value == "include":
                includes = value
            else:
                own.append((key, value))
        for key, value in own:
            self._unite(key, value, name)
        if includes is not None:
            self._include(includes, base)

    def _say(self, message: str, place: Place | None, name: str) -> None:
        """A fault that belongs to a place or, without one, to a file as a whole."""
        self.document.whole = False
        if place is None:
            self.document.faults.append(Fault(message, file=name))
        else:
            self.document.faults.append(_fault(message, place, ()))

    def _compose(self, text: str, name: str) -> Node | None:
        """Nodes of the only document in `text`; None (with a fault) when broken, empty is a fault as well."""
        stream = io.StringIO(text)
        stream.name = name  # marks carry it, so nodes know their file
        try:
            node = composer(stream)
        except yaml.MarkedYAMLError as error:
            self._syntax(error, name)
            return None
        except yaml.YAMLError as error:
            position = getattr(error, "position", 0) or 0
            line = text.count("\n", 0, position) + 1
            reason = getattr(error, "reason", None) or str(error)
            self.document.faults.append(Fault(f"not YAML: {reason}", file=name, line=line, column=1))
            self.document.whole = False
            return None
        if node is None:
            if not self.stack[:-1]:
                self.document.faults.append(Fault("the configuration is empty", file=name))
                self.document.whole = False
            return None
        return node

    def _syntax(self, error: yaml.MarkedYAMLError, name: str) -> None:
        mark = error.problem_mark or error.context_mark
        message = f"not YAML: {error.problem or error.context or 'syntax error'}"
        if error.context and error.problem:
            message += f" ({error.context})"
        self.document.whole = False
        if mark is None:
            self.document.faults.append(Fault(message, file=name))
            return
        lines = self.document.lines.get(name, [])
        source = lines[mark.line] if mark.line < len(lines) else ""
        if "\t" in source[: mark.column + 1] and "token" in message:
            message += "; tabs can't indent in YAML"
        self.document.faults.append(Fault(message, name, mark.line + 1, mark.column + 1, 1, source))

    def _include(self, node: Node, base: str) -> None:
        patterns = node.value if isinstance(node, SequenceNode) else [node]
        for item in patterns:
            place = self.document._at(item)
            if not isinstance(item, ScalarNode):
                self._say("include takes file names, such as [conf.d/*.yaml]", place, "")
                continue
            pattern = self._scalar(item, ("include",))
            if not isinstance(pattern, str) or not pattern:
                self._say("include takes file names, such as [conf.d/*.yaml]", place, "")
                continue
            full = os.path.join(glob.escape(base) if base else "", pattern)
            names = sorted(glob.glob(full)) if glob.has_magic(pattern) else [os.path.join(base, pattern)]
            for name in names:
                self.read_file(name, place)

    # -- uniting -------------------------------------------------------------------------------------------------

    def _unite(self, key: Node, value: Node, name: str) -> None:
        """Adds one top-level pair. Maps of names are joined, everything else may stand once."""
        text = key.value if isinstance(key, ScalarNode) else None
        at = next((i for i, (k, _) in enumerate(self.pairs) if isinstance(k, ScalarNode) and k.value == text), None)
        if at is None:
            self.pairs.append((key, value))
            return
        old_key, old = self.pairs[at]
        same_file = old_key.start_mark.name == name
        if text in UNITED and not same_file and isinstance(old, MappingNode) and isinstance(value, MappingNode):
            joined = MappingNode(old.tag, old.value + value.value, old.start_mark, old.end_mark)
            self.pairs[at] = (old_key, joined)
        elif text == "version" and isinstance(old, ScalarNode) and isinstance(value, ScalarNode) and not same_file:
            if old.value != value.value:
                self._twice(key, old_key, ("version",))
        else:
            self._twice(key, old_key, (cast("str", text),))

    def _twice(self, key: Node, first: Node, path: Path) -> None:
        here, there = self.document._at(key), self.document._at(first)
        where = f"line {there.line}" if there.file == here.file else f"{there.file}:{there.line}:{there.column}"
        message = f"{key.value!r} is already given at {where}"
        if len(path) == 2 and path[0] in UNITED:
            message = f"{str(path[0])[:-1]} {key.value!r} is already defined at {where}"
        self.document.faults.append(_fault(message, here, path))

    # -- construction --------------------------------------------------------------------------------------------

    def finish(self) -> Document:
        document = self.document
        document.root = MappingNode(QUOTED, self.pairs)
        if self.pairs:
            document.root.start_mark, document.root.end_mark = self.pairs[0][0].start_mark, self.pairs[0][0].end_mark
        document.data = self._mapping(document.root, ())
        return document

    def _construct(self, node: Node, path: Path) -> Any:
        self.values += 1
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if self.values > _MOST_VALUES:
            if self.values < _MOST_VALUES * 2:
                self._at_node(node, f"more than {_MOST_VALUES:,} values: aliases (*name) multiply", path)
                self.values = _MOST_VALUES * 2
            return None
        if len(path) > 64:
            self._at_node(node, "nested too deep, or an alias (*name) contains itself", path)
            return None
        if node.tag not in (PLAIN, QUOTED, "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"):
            self._at_node(node, f"unknown tag {node.tag!r}", path)
            return None
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        return [self._construct(item, (*path, i)) for i, item in enumerate(cast("SequenceNode", node).value)]

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                self._at_node(key, "a key must be plain text", path)
                continue
            name = key.value
            if name in data:
                first = next(k for k, _ in node.value if k.value == name)
                self._twice(key, first, (*path, name))
                continue
            if name == "<<" and key.tag == PLAIN:
                self._at_node(
                    key, "merge keys (<<) are not part of YAML 1.2: use an alias (*name) for a whole value", path
                )
                continue
            data[name] = self._construct(value, (*path, name))
        return data

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        text, tag = node.value, node.tag
        if "${" in text:
            try:
                text = substitute(text, self.env)
            except UnresolvedError as error:
                place = self.document._at(node, text, error.offset)
                hint = did_you_mean(error.name, self.env) if error.name else ""
                self.document.faults.append(_fault(f"{error}{hint}", place, path))
                self.document.unresolved.add(path)
                return ""
        if tag == PLAIN:
            return resolve(text)
        if tag == QUOTED or tag == "tag:yaml.org,2002:str":
            return text
        if tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float", "tag:yaml.org,2002:bool"):
            return resolve(text)
        if tag == "tag:yaml.org,2002:null":
            return None
        self._at_node(node, f"unknown tag {tag!r}", path)
        return None

    def _at_node(self, node: Node, message: str, path: Path) -> None:
        self.document.faults.append(_fault(message, self.document._at(node), path))
