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

from segpipe.common.files import write_text
from segpipe.params.load import check_params, read_yaml

_TEXT = "tag:yaml.org,2002:str"


def write_params(path: Path, changes: Mapping[str, Any]) -> None:
    """Set nested keys of a params file; comments, order and other keys stay.

    Raises ParamsError where the params would be wrong, and leaves the file as it was.
    """
    write_text(path, changed_params(path, changes))


def changed_params(path: Path, changes: Mapping[str, Any]) -> str:
    """Return the text that `write_params` would write. Raises ParamsError where it would be wrong."""
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
    made = YAML()
    made.Representer = _Representer
    made.default_flow_style = False
    made.width = 4096  # a long path stays on its line
    return made


def _merge(into: CommentedMap, changes: Mapping[str, Any]) -> None:
    for key, value in changes.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), CommentedMap):
            _merge(into[key], value)
        elif isinstance(value, list) and isinstance(into.get(key), CommentedSeq):
            _replace(into, key, value)
        elif into.get(key) != value:
            into[key] = value


def _replace(into: CommentedMap, key: str, values: list) -> None:
    """Replace a list by another; a list on one line stays on one line, and the comment after it stays.

    ruamel.yaml attaches the comment after a list of several lines to the list's last scalar.
    """
    old, new = into[key], CommentedSeq(CommentedMap(v) if isinstance(v, dict) else v for v in values)
    into[key] = new
    if old.fa.flow_style() is not False:
        new.fa.set_flow_style()
    elif (before := _last(old)) and (comment := before[0].ca.items.pop(before[1], None)):
        if place := _last(new):
            place[0].ca.items[place[1]] = comment
        else:
            _put_at_key(into, key, comment)


def _put_at_key(into: CommentedMap, key: str, comment: list) -> None:
    """Append the comment of a list that became empty to the comment on the line of its key."""
    tokens = [token for token in (*into.ca.items.get(key, ()), *comment) if token]
    text = tokens[0].value + "".join(token.value.lstrip("\n") for token in tokens[1:])
    into.ca.items[key] = [None, None, CommentToken(text, tokens[0].start_mark), None]


def _last(sequence: CommentedSeq) -> tuple[Any, Any] | None:
    """Return the container and the key of a list's last scalar; None if the list is empty."""
    if not sequence:
        return None
    if isinstance(sequence[-1], CommentedMap):
        return sequence[-1], list(sequence[-1])[-1]
    return sequence, len(sequence) - 1
