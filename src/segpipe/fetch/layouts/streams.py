"""JSON objects read piece by piece, so that lists of any length take little memory.

The standard library reads each element of a list; only the list itself is never built. Text may begin
with a byte order mark, and may be UTF-16 or UTF-32, as Windows' programs write it.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, TextIO

from segpipe.fetch.layouts import texts

_FIRST, _PIECE = 1 << 14, 1 << 22  # characters that are read at once: at first, and at most
LONGEST = 64 << 20  # characters of one element: a polygon of a million points takes 40 million

_space = re.compile(r"[ \t\n\r]*").match


class MalformedError(ValueError):
    """Text that is no JSON object, or an element that is too long; the message says where."""


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise MalformedError(f"two keys {key!r} in one object")
    return found


_decode = json.JSONDecoder(object_pairs_hook=_unique).raw_decode


def first_list(path: Path, among: Collection[str]) -> str | None:
    """Return the first key of a file's object that is one of `among` and has a list; None without any.

    Values before it are read and dropped: an image inside a JSON file may be long.
    """
    try:
        with _opened(path, "replace") as file:
            reader = _Reader(file)
            return next((key for key in reader.members() if key in among and reader.peek() == "["), None)
    except (MalformedError, OSError):
        return None


def lost(path: Path) -> str | None:
    """Return why a file is no whole JSON, as `texts.lost` does; None where it is, or may be."""
    if found := texts.lost(path):
        return found
    try:
        with _opened(path) as file:
            for _ in _Reader(file).members():
                pass
    except MalformedError as error:
        if "an early end" in str(error) or texts.head(path).lstrip()[:1] == "<":
            return f"no whole JSON ({error}); fetch or export it again, or remove it"
    return None


def elements(
    path: Path, lists: Collection[str], others: Collection[str] = ()
) -> Iterator[tuple[str, Any, str]]:
    """Yield the elements of the lists that a file's object has, and the values of its `others`.

    Each is the key, the element or value, and its text. Raises MalformedError, and OSError.
    """
    with _opened(path) as file:
        reader, found = _Reader(file), set[str]()
        for key in reader.members():
            if key in found:
                raise MalformedError(f"two keys {key!r} in one object")
            found.add(key)
            if key in lists:
                for value, text in reader.items():
                    yield key, value, text
            elif key in others:
                yield key, *reader.value()
    if missing := {*lists} - found:
        raise MalformedError(f"no key {min(missing)!r}")


def _opened(path: Path, errors: str = "strict") -> TextIO:
    with path.open("rb") as file:
        encoding = json.detect_encoding(file.read(4))
    return path.open(encoding=encoding, errors=errors)


class _Reader:
    """A place in JSON text, of which only the next piece is in memory."""

    def __init__(self, file: TextIO) -> None:
        self.file, self.text, self.at = file, "", 0
        self.dropped, self.piece = 0, _FIRST  # characters before `text`, and to read next
        self.ended = self.taken = False  # whether the file is read, and the value of the latest key

    def members(self) -> Iterator[str]:
        """Yield the object's keys; a value that neither `items` nor `value` took is skipped."""
        self._expect("{")
        while self.peek() != "}":
            key, _ = self.value()
            if not isinstance(key, str):
                raise self._error("a key that is no text")
            self._expect(":")
            self.taken = False
            yield key
            if not self.taken:
                self.value()
            self._separator("}")
        self.at += 1
        if self.peek():
            raise self._error("text after the object's end")

    def items(self) -> Iterator[tuple[Any, str]]:
        """Yield the elements of the latest key's list, each with its text."""
        self.taken = True
        self._expect("[")
        while self.peek() != "]":
            yield self.value()
            self._separator("]")
        self.at += 1

    def value(self) -> tuple[Any, str]:
        """Return the value that begins here, and its text."""
        self.taken = True
        self.peek()
        while True:
            try:
                value, end = _decode(self.text, self.at)
            except RecursionError:
                raise self._error("lists within lists, too deep") from None
            except MalformedError as error:
                raise self._error(str(error)) from None
            except ValueError:
                end = len(self.text)  # cut at the end of the piece, or wrong
                if self.ended:
                    raise self._error("no JSON, or an early end,") from None
            if end < len(self.text) or self.ended:  # a number may go on in the next piece
                text, self.at = self.text[self.at : end], end
                return value, text
            self._more()

    def _more(self) -> None:
        rest = self.text[self.at :]
        if len(rest) > LONGEST:
            raise self._error(f"one element of more than {LONGEST} characters, or no JSON")
        try:
            read = self.file.read(max(self.piece, 2 * len(rest)))
        except UnicodeError:
            raise MalformedError(f"text that is not {self.file.encoding.upper()}") from None
        self.piece = min(2 * self.piece, _PIECE)
        self.dropped += self.at
        self.text, self.at, self.ended = rest + read, 0, not read

    def peek(self) -> str:
        """Move to the next character that is no space, and return it; an empty text at the end."""
        while True:
            self.at = _space(self.text, self.at).end()  # type: ignore[union-attr]  # matches nothing too
            if self.at < len(self.text) or self.ended:
                return self.text[self.at : self.at + 1]
            self._more()

    def _expect(self, character: str) -> None:
        if (found := self.peek()) != character:
            raise self._error(f"{found!r} instead of {character!r}" if found else "an early end")
        self.at += 1

    def _separator(self, end: str) -> None:
        if self.peek() != end:
            self._expect(",")

    def _error(self, found: str) -> MalformedError:
        return MalformedError(f"{found} at character {self.dropped + self.at}")
