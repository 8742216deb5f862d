"""Reading text, JSON and YAML from files of unknown origin.

Text must be UTF-8 in a regular file. JSON and YAML may not be nested deeper than `MAX_DEPTH`. YAML
aliases may not expand to more than `MAX_NODES` values: nine lines of aliases can stand for a
billion. Everything else that a parser may raise becomes a sentence that names the file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import SpectrimError
from .paths import read_bytes
from .values import duplicates

MAX_DEPTH = 100
MAX_NODES = 200_000
MAX_YAML_BYTES = 4_000_000  # PyYAML reads about 100 kB per second
MAX_LABEL_BYTES = 64_000_000
INTERPOLATION = "${"
SURROGATE = re.compile("[\ud800-\udfff]")  # an escape in YAML may be one half of a pair


def read_text(path: Path, expected: str, limit: int | None = None) -> str:
    """The text of a file in UTF-8, with or without a byte order mark; arguments as `read_bytes`.

    Raises:
        SpectrimError: as `read_bytes`; or it is not UTF-8.
    """
    try:
        return read_bytes(path, expected, limit).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise SpectrimError(
            f"{path}: byte {error.start} (0x{byte:02x}) is not UTF-8. Save {expected} as UTF-8."
        ) from error


def read_lines(path: Path, expected: str, limit: int | None = None) -> list[str]:
    """The lines of a text file that are not empty, stripped; arguments and errors as `read_text`.

    Only line feeds and carriage returns end a line, because names may contain form feeds.
    """
    lines = re.split(r"\r\n?|\n", read_text(path, expected, limit))
    return [line.strip() for line in lines if line.strip()]


def read_json(path: Path, expected: str = "a JSON file") -> Any:
    """Read JSON.

    Raises:
        SpectrimError: the file is missing, is not JSON, or is nested too deeply.
    """
    return parse_json(read_bytes(path, expected), str(path))


def parse_json(text: str | bytes, where: str) -> Any:
    """Parse JSON; `where` names its source in errors.

    Raises:
        SpectrimError: it is not JSON, or nested too deeply.
    """
    try:
        value = json.loads(text)
    except RecursionError:
        raise _too_deep(where) from None
    except ValueError as error:
        raise SpectrimError(f"{where} is not valid JSON: {error}.") from error
    _check_size(value, where)
    return value


def read_yaml(path: Path, expected: str) -> dict[str, Any]:
    """Read a YAML mapping of plain values; an empty file is an empty mapping.

    Raises:
        SpectrimError: as `parse_yaml`; or the file is missing or holds no mapping.
    """
    content = parse_yaml(read_text(path, expected, MAX_YAML_BYTES), str(path))
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SpectrimError(f"{path}: expected keys and values, not a {type(content).__name__}.")
    return content


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML into plain values; `where` names its source in errors.

    Raises:
        SpectrimError: the text is not YAML, is nested too deeply, expands to too many values, or
            repeats a key; or it contains "${", which OmegaConf would replace by other keys or
            environment variables.
    """
    import yaml  # here, since it comes with the extra for training

    try:
        loader = yaml.SafeLoader(text)
        # The graph of nodes first: constructing values already expands merge keys ("<<").
        node = loader.get_single_node()
        if node is None:
            return None
        _check_nodes(node, where)
        value = loader.construct_document(node)
    except RecursionError:
        raise _too_deep(where) from None
    except SpectrimError:
        raise
    except Exception as error:  # a wrong date or number raises ValueError, IndexError or others
        reason = " ".join(str(error).split()) or type(error).__name__
        raise SpectrimError(f"{where}: not YAML ({reason}).") from error
    _check_size(value, where)
    for leaf in _leaves(value):
        if isinstance(leaf, str) and INTERPOLATION in leaf:
            raise SpectrimError(
                f"{where}: {leaf!r} is not replaced, because a recipe holds plain values. Write "
                "the value itself."
            )
        if isinstance(leaf, str) and SURROGATE.search(leaf):
            raise SpectrimError(f"{where}: {leaf!a} contains half of a character.")
        if isinstance(leaf, int) and leaf.bit_length() > 64:
            raise SpectrimError(f"{where}: a number of {leaf.bit_length()} bits is too large.")
    return value


def _check_nodes(root: Any, where: str) -> None:
    """Refuse YAML whose aliases expand to more than `MAX_NODES` nodes, or that contains itself.

    An anchor is one node in the graph, however often it is used. `sizes` holds how many nodes
    stand below each when all aliases are written out: a node's size is 1 plus those of its
    children. Children come first, without recursion, because a file may be nested deeply.
    """
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()
    stack = [(root, False)]
    while stack:
        node, is_done = stack.pop()
        if id(node) in sizes:
            continue
        children = _children(node)
        if is_done:
            open_nodes.discard(id(node))
            sizes[id(node)] = 1 + sum(sizes[id(child)] for child in children)
            continue
        if len(open_nodes) > MAX_DEPTH:
            raise _too_deep(where)
        open_nodes.add(id(node))
        _check_keys(node, where)
        stack.append((node, True))
        for child in children:
            if id(child) in open_nodes:
                raise SpectrimError(f"{where}: an alias contains itself. Write the value itself.")
            stack.append((child, False))
    if sizes[id(root)] > MAX_NODES:
        raise SpectrimError(
            f"{where}: its aliases (*name) expand to more than {MAX_NODES:,} values. Write fewer."
        )


def _check_keys(node: Any, where: str) -> None:
    """Refuse a key that occurs twice, because YAML would silently take the last value."""
    pairs = [entry for entry in node.value if isinstance(entry, tuple)]
    keys = [key.value for key, _ in pairs if isinstance(key.value, str) and key.value != "<<"]
    if repeated := duplicates(keys):
        raise SpectrimError(f"{where}: the key {repeated[0]!r} occurs twice. Remove one.")


def _children(node: Any) -> list[Any]:
    if isinstance(node.value, str):
        return []
    return [
        child for entry in node.value for child in (entry if isinstance(entry, tuple) else (entry,))
    ]


def _check_size(value: Any, where: str) -> None:
    """Refuse values nested deeper than `MAX_DEPTH`, layer by layer."""
    layer = [value]
    for _ in range(MAX_DEPTH + 1):
        layer = [item for outer in layer for item in _items(outer)]
        if not layer:
            return
    raise _too_deep(where)


def _items(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    return value if isinstance(value, list) else []


def _leaves(value: Any) -> Iterator[Any]:
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            stack += item.keys()
        stack += _items(item)
        if not isinstance(item, (Mapping, list)):
            yield item


def _too_deep(where: str) -> SpectrimError:
    return SpectrimError(f"{where} is nested deeper than {MAX_DEPTH} levels.")
