"""Lists of names, or of pictures with their masks, that say which sample is in which split."""

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from segpipe.common.errors import UserError
from segpipe.fetch.layouts import matching, texts
from segpipe.fetch.layouts.matching import ByName
from segpipe.fetch.layouts.partners import Matched
from segpipe.fetch.sample import Problem, Split

_FOLDERS = (".", "ImageSets/Segmentation", "ImageSets", "splits", "split", "lists", "list")
_SUFFIXES = (".txt", ".lst")
_OTHERS = (*_SUFFIXES, ".csv", ".tsv", ".json")  # suffixes of what other tools read as lists

Lists = Mapping[str, Sequence[str]]  # entries by the list's split word


def lists_in(root: Path) -> Lists:
    """Return the lists `train.txt`, `val.txt` and `test.txt`, from where they usually lie."""
    return next(filter(None, (_in_folder(root, root / folder) for folder in _FOLDERS)), {})


def _in_folder(root: Path, folder: Path) -> Lists:
    """Return the lists of a folder: `train.txt` or `train_list.txt`, else such as `train_ids.txt`."""
    paths = sorted(folder.glob("[!.]*"), reverse=True) if folder.is_dir() else []
    files = {p.stem.lower().removesuffix("_list"): p for p in paths if p.suffix.lower() in _SUFFIXES}
    words = matching.split_words(files)
    chosen = {name: name for name in words if name in matching.SPLIT_WORDS}
    if chosen.keys() == {"test"} and "trainval" in files:
        chosen["train"] = "trainval"
    once = len({*words.values()}) == len(words)  # there may be the lists of several folds
    if not chosen and once and all(_of_pictures(root, files[name]) for name in words):
        chosen = {word: name for name, word in words.items()}
    named = functools.cache(_hash_names)
    lines = functools.partial(texts.lines, is_name=lambda line: bool(named(root).match(line)))
    return {word: lines(files[chosen[word]]) for word in matching.SPLIT_WORDS if word in chosen}


def _hash_names(root: Path) -> re.Pattern[str]:
    """Return a pattern of lines with a picture, or its folder, whose name begins with `#`."""
    places = (path.relative_to(root) for path in texts.visible(root) if matching.is_image(path))
    names = {name for place in places for name in (*place.parts, place.stem) if name.startswith("#")}
    return re.compile(rf"(?:{'|'.join(map(re.escape, names)) or '(?!)'})(?:[\s,;/\\]|$)")


def _of_pictures(root: Path, file: Path) -> bool:
    """Return whether a text begins with a picture's name; a log does not."""
    first = re.split(r"[\s,;]", texts.head(file).strip(), maxsplit=1)[0]
    named = texts.local(first).name
    pictures = filter(matching.is_image, texts.visible(root))
    return any(named in (path.name, path.stem) for path in pictures)


def splits_of(root: Path, lists: Lists) -> dict[str, Split]:
    """Return the split of each list. Raises UserError where none is for training, or all are."""
    splits = matching.splits_of(lists)
    if len(splits) < 2 or "train" not in splits.values():
        mend = "give both train.txt and test.txt, or neither"
        raise UserError(f"{root}: holds the {' and '.join(lists)} list alone; {mend}")
    return splits


def unread(root: Path) -> list[str]:
    """Return the files that seem to say which picture is in which split, if no list is read."""
    sources = []
    for path in texts.visible(root):
        name, suffix = matching.relative(root, path), path.suffix.lower()
        if suffix in _OTHERS and matching.holds_out(path.stem):
            sources.append(name)
        elif suffix in (".csv", ".tsv"):
            titles = next(texts.table(texts.head(path).lower()), [])
            if "split" in map(str.strip, titles):
                sources.append(f"the column split of {name}")
    return sources


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


def name_of(entry: str, word: str, known: ByName, of_stem: Mapping[str, Sequence[str]]) -> str:
    """Return the name that a line of a list means: with a suffix, with folders, or without.

    `of_stem` has the known names by their last part: a line without folders means the only one.
    """
    path = texts.local(entry.lstrip("/"))
    bare = path.with_suffix("") if matching.is_image(Path(path)) else path
    tails = ["/".join(bare.parts[n:]) for n in range(len(bare.parts))]
    key = matching.parsed(Path(), Path(f"{bare}.png")).name
    meant = (str(bare), f"{word}/{bare}", key, *tails)
    alike = [name for name in of_stem.get(bare.name, ()) if name.endswith(f"/{bare}")]
    only = alike[0] if len(alike) == 1 else str(bare)
    return next((name for name in meant if name in known), only)
