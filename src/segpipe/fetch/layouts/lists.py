"""Lists of names, or of pictures with their masks, that say which sample is in which split."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from segpipe.common.errors import UserError
from segpipe.fetch.layouts import matching, texts
from segpipe.fetch.layouts.matching import ByName
from segpipe.fetch.layouts.partners import Matched
from segpipe.fetch.sample import Problem, Split

_FOLDERS = (".", "ImageSets/Segmentation", "ImageSets", "splits", "lists")

Lists = Mapping[str, Sequence[str]]  # entries by the list's split word


def lists_in(root: Path) -> Lists:
    """Return the lists `train.txt`, `val.txt` and `test.txt`, from where they usually lie."""
    return next(filter(None, (texts.split_lists(root / folder) for folder in _FOLDERS)), {})


def splits_of(root: Path, lists: Lists) -> dict[str, Split]:
    """Return the split of each list. Raises UserError where there is a single one."""
    if len(lists) == 1:
        mend = "give both train.txt and test.txt, or neither"
        raise UserError(f"{root}: holds the {next(iter(lists))} list alone; {mend}")
    return matching.splits_of(lists)


class Paths:
    """The files of a folder, found by what lists call them: `images/a.jpg`, `/old/images/a.jpg`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @cached_property
    def _files(self) -> dict[str, Path]:
        files = texts.visible(self._root)
        return {matching.normal(matching.relative(self._root, path)): path for path in files}

    def find(self, text: str) -> Path | None:
        """Return the file of the longest end of a path that there is."""
        folders = texts.local(text).parts
        ends = ("/".join(folders[n:]) for n in range(len(folders)))
        return next((self._files[end] for end in ends if end in self._files), None)

    def pictures(self) -> Iterator[Path]:
        """Yield the pictures that are not called masks."""
        for path in filter(matching.is_image, self._files.values()):
            if matching.parsed(self._root, path).word not in matching.MASK_WORDS:
                yield path

    def pair(self, entry: str) -> tuple[Path, Path] | None:
        """Return the two files of a line; names may hold the space that stands between them."""
        for gap in re.finditer(r"[\s,;]+", entry):
            image, mask = self.find(entry[: gap.start()]), self.find(entry[gap.end() :])
            if image and mask:
                return image, mask
        return None


def holds_pairs(lists: Lists, paths: Paths) -> bool:
    """Return whether a line is a picture with its mask."""
    return any(paths.pair(entry) for entries in lists.values() for entry in entries[:1])


def named_pairs(root: Path, lists: Lists, paths: Paths) -> tuple[Matched, Lists, list[Problem]]:
    """Return the pairs by the names of their pictures, these names by list, and the bad lines."""
    matched, names, problems = Matched(), {word: list[str]() for word in lists}, list[Problem]()
    for word, entry in ((word, entry) for word, entries in lists.items() for entry in entries):
        if found := paths.pair(entry):
            name = matching.parsed(root, found[0]).name
            for side, path in zip((matched.images, matched.masks), found, strict=True):
                known = side.setdefault(name, [])
                known += [path] if path not in known else []
            names[word].append(name)
        else:
            expected = "a picture and its mask, both in the folder"
            problems.append(Problem(f"the {word} list", f"the line {entry!r}", expected))
    used = {path for side in (matched.images, matched.masks) for some in side.values() for path in some}
    matched.unused["pictures in no list"] = sum(path not in used for path in paths.pictures())
    return matched, names, problems


def name_of(entry: str, word: str, known: ByName) -> str:
    """Return the name that a line of a list means: with a suffix, with folders, or without."""
    path = texts.local(entry.lstrip("/"))
    bare = path.with_suffix("") if matching.is_image(Path(path)) else path
    tails = ["/".join(bare.parts[n:]) for n in range(len(bare.parts))]
    key = matching.parsed(Path(), Path(f"{bare}.png")).name
    meant = (str(bare), f"{word}/{bare}", key, *tails)
    return next((name for name in meant if name in known), str(bare))
