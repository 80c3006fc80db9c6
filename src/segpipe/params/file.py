"""Change `params.yaml` in place, comments and order kept, as DVC does."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.representer import RoundTripRepresenter
from ruamel.yaml.tokens import CommentToken

from segpipe.params.load import check_params, read_yaml

_TEXT = "tag:yaml.org,2002:str"


def changed_params(path: Path, changes: Mapping[str, Any]) -> str:
    """Return the text of a params file with nested keys set; comments, order and other keys stay.

    Raises ParamsError where the params would be wrong.
    """
    content = _yaml().load(path.read_text(encoding="utf-8"))
    _merge(content, changes)
    text = as_yaml(content)
    check_params(read_yaml(text), path)
    return text


def as_yaml(content: Any) -> str:
    """Return YAML text in the style in which DVC writes `params.yaml`."""
    stream = io.StringIO()
    _yaml().dump(content, stream)
    return stream.getvalue()


class _Representer(RoundTripRepresenter):
    """Quotes text such as `on`, which YAML 1.1 takes for a boolean."""

    def represent_text(self, text: str) -> Any:
        """Return a scalar node."""
        resolved = yaml.SafeLoader("").resolve(yaml.ScalarNode, text, (True, False))
        is_text = resolved == _TEXT and text not in ("y", "Y", "n", "N")  # PyYAML lacks these four
        return self.represent_scalar(_TEXT, text, style=None if is_text else "'")


_Representer.add_representer(str, _Representer.represent_text)


def _yaml() -> YAML:
    parser = YAML()
    parser.Representer = _Representer
    parser.default_flow_style = False
    parser.width = 4096  # a long path stays on its line
    return parser


def _merge(into: CommentedMap, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), CommentedMap):
            _merge(into[key], value)
        elif into.get(key) != value:
            _replace(into, key, value)


def _replace(into: CommentedMap, key: str, value: Any) -> None:
    """Replace a value. One on a single line stays on one line, and the comment after it stays.

    ruamel.yaml attaches the comment after a value of several lines to the value's last scalar.
    """
    old, new = into.get(key), _node(value, into.get(key))
    into[key] = new
    if (before := _last(old)) and (comment := before[0].ca.items.pop(before[1], None)):
        if place := _last(new):
            place[0].ca.items[place[1]] = comment
        else:
            _put_at_key(into, key, comment)


def _node(value: Any, old: Any) -> Any:
    """Return a value as ruamel.yaml has it; on one line if the old one is, unless that is None."""
    node: CommentedSeq | CommentedMap
    if isinstance(value, list):
        old_item = old[-1] if isinstance(old, CommentedSeq) and old else None
        node = CommentedSeq(_node(item, old_item) for item in value)
    elif isinstance(value, Mapping):
        node = CommentedMap({name: _node(item, None) for name, item in value.items()})
    else:
        return value
    if node and (old is None or _has_lines(old)):
        node.fa.set_block_style()
    else:
        node.fa.set_flow_style()
    return node


def _put_at_key(into: CommentedMap, key: str, comment: list) -> None:
    """Append the comment after a value of several lines to the comment on the line of its key."""
    tokens = [token for token in (*into.ca.items.get(key, ()), *comment) if token]
    text = tokens[0].value + "".join(token.value.lstrip("\n") for token in tokens[1:])
    into.ca.items[key] = [None, None, CommentToken(text, tokens[0].start_mark), None]


def _last(node: Any) -> tuple[Any, Any] | None:
    """Return the container and the key of the last scalar of a value; None if it is on one line."""
    if not node or not _has_lines(node):
        return None
    key = len(node) - 1 if isinstance(node, CommentedSeq) else list(node)[-1]
    return _last(node[key]) or (node, key)


def _has_lines(node: Any) -> bool:
    """Return whether a value is a list or section with a line for each part."""
    return isinstance(node, CommentedSeq | CommentedMap) and node.fa.flow_style() is False
