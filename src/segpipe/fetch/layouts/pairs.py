"""A picture and a mask, each in a file, that `partners` brings together by their names.

`images/NAME.*` and `masks/NAME.*`, or both in one folder, with the usual other words and endings. Lists
win over the folders of splits (see `splits`): `train.txt`, `val.txt` and `test.txt` hold a name a line,
or a picture and its mask a line, as PaddleSeg has them.
"""

import contextlib
import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.layouts import lists, matching, partners, texts, unmatched
from segpipe.fetch.layouts.matching import ByName, File, relative
from segpipe.fetch.layouts.partners import Matched
from segpipe.fetch.sample import Files, Note, Problem, Sample, Samples, Split

_TEXTS = {".txt", ".json", ".xml", ".csv", ".yaml", ".yml", ".md", ".py", ".ipynb", ".db", ".ini"}
"""Suffixes of files that are not expected to be a picture or a mask."""

_PRIVATE = [f"test/{city}/" for city in
            ("berlin", "bielefeld", "bonn", "leverkusen", "mainz", "munich")]  # fmt: skip
"""Cityscapes' test split, whose masks are dummies: the true ones are not public."""

Parts = Mapping[str, Matched]  # by the folder of a split; the part "" is in no such folder


def seen(root: Path) -> str | None:
    """Look for a picture and a mask that go together, or a list of them."""
    with contextlib.suppress(UserError):  # a list that cannot be read may not be meant for us
        if lists.holds_pairs(found := lists.lists_in(root), lists.Paths(root)):
            return f"{', '.join(f'{word}.txt' for word in found)} with a picture and its mask a line"
    return evidence(root, {word: part for word, part in parts(root).items() if not word})


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples. Raises UserError where no picture has a mask, or a list is missing."""
    listed, paths = lists.lists_in(root), lists.Paths(root)
    if lists.holds_pairs(listed, paths):
        matched, listed, problems = lists.named_pairs(root, listed, paths)
        yield from problems
        yield from of_parts(root, {"": matched}, listed)
    else:
        yield from of_parts(root, parts(root), listed)


def parts(root: Path) -> Parts:
    """Match the pictures and masks of each part."""
    return _parts(root, tuple(texts.visible(root)))


@functools.lru_cache(maxsize=1)  # several layouts ask
def _parts(root: Path, paths: tuple[Path, ...]) -> Parts:
    files: dict[str, list[File]] = {}
    others: list[File] = []
    dummies = 0
    for file in matching.all_parsed(root, paths):
        if file.word == "gtfine" and file.place in _PRIVATE:
            dummies += 1
        else:
            (files.setdefault(file.part, []) if matching.is_image(file.path) else others).append(file)
    found = {word: partners.match(members) for word, members in sorted(files.items())}
    for file in others:
        if (file.word or file.place) and file.path.suffix.lower() not in _TEXTS and file.part in found:
            kind = f"{file.path.suffix or 'files without suffix'} in {file.path.parent.name}/"
            found[file.part].unused[kind] += 1
    if dummies and found:
        first = next(iter(found.values()))
        first.unused["dummies in gtFine/test/, as the true masks are not public"] = dummies
    return found


def evidence(root: Path, matched: Parts) -> str | None:
    """Return a pair, and the parts that have pairs, parts for training first; None without a pair."""
    words = sorted(word for word, part in matched.items() if part.names)
    words.sort(key=lambda word: not word.startswith("train"))
    if not words:
        return None
    part, name = matched[words[0]], min(matched[words[0]].names)
    image, mask = (relative(root, side[name][0]) for side in (part.images, part.masks))
    more = ", ".join(f"{word}/" for word in words)
    return f"{image} with {mask}" + (f", in {more}" if len(words) > 1 else "")


def of_parts(
    root: Path, matched: Parts, listed: lists.Lists,
    to_sample: Callable[..., Sample | Problem] | None = None,
) -> Samples:  # fmt: skip
    """Yield the samples of matched files, by `to_sample` or `pair`: all, or those in lists."""
    if rivals := next((part.rivals for part in matched.values() if part.rivals), None):
        raise UserError(unmatched.several(root, rivals))
    if not any(part.names for part in matched.values()):
        raise UserError(unmatched.reason(root))
    images: ByName = {name: files for part in matched.values() for name, files in part.images.items()}
    masks: ByName = {name: files for part in matched.values() for name, files in part.masks.items()}
    splits: dict[str, Split | None] = {}
    if listed:
        yield from _by_list(lists.splits_of(root, listed), listed, images, splits)
    else:
        for word, split in _by_folder(root, matched).items():
            splits |= dict.fromkeys((*matched[word].images, *matched[word].masks), split)
    unused = sum((part.unused for part in matched.values()), Counter())
    kind = "pictures in no list" if listed else "pictures in no folder of a split"
    unused[kind] += len(images.keys() - splits.keys())
    if splits and not any(splits.values()):
        yield from _unread_splits(root, splits)
    if text := ", ".join(f"{kind} ({count})" for kind, count in unused.items() if count):
        yield Note(f"not used: {text}")
    for name, split in splits.items():
        yield (to_sample or pair)(root, name, split, images.get(name, []), masks.get(name, []))


def _by_folder(root: Path, matched: Parts) -> dict[str, Split | None]:
    """Return the split of each part with pairs; None where `layouts` is to decide."""
    splits: dict[str, Split | None] = {}
    splits |= matching.splits_of(word for word, part in matched.items() if word and part.names)
    if "train" not in splits.values():
        if "" not in matched or not matched[""].names:
            mend = "expected train/ with images/ and masks/, or images/train/ and masks/train/"
            raise UserError(f"{root}: no folders for training, but {', '.join(splits)}/; {mend}")
        splits[""] = "train"
    return splits if len(splits) > 1 else dict.fromkeys(splits)


def _unread_splits(root: Path, names: Iterable[str]) -> Iterator[Note]:
    """Name the files and folders that seem to say the splits of `names`, though they do not."""
    folders = {name.rpartition("/")[0] for name in names}
    held_out = [f"{folder}/" for folder in sorted(folders) if matching.holds_out(folder)]
    telling = [*lists.unread(root), *held_out]
    if telling:
        shown = ", ".join(telling[:3]) + " ..." * (len(telling) > 3)
        yield Note(f"pictures are split by a hash of their names; not read as splits: {shown}")


def _by_list(
    words: Mapping[str, Split], listed: lists.Lists, images: ByName, splits: dict[str, Split | None]
) -> Iterator[Problem]:
    """Put the names of lists into `splits`, test first, and yield problems of duplicate names."""
    of_stem: dict[str, list[str]] = {}
    for name in images:
        of_stem.setdefault(name.rpartition("/")[2], []).append(name)
    for word in sorted(words, key=lambda word: words[word] != "test"):
        names = Counter(lists.name_of(entry, word, images, of_stem) for entry in listed[word])
        for name, count in sorted(names.items()):
            if count > 1:
                yield Problem(name, f"a duplicate name, {count} times in the {word} list", "it once")
            if (split := splits.setdefault(name, words[word])) != words[word]:
                both = f"{words[word]} and {split}"
                yield Problem(name, f"a name in both lists, {both}", "it in one of them")


def pair(
    root: Path, name: str, split: Split | None, image: list[Path], mask: list[Path]
) -> Sample | Problem:
    """Return the sample of a name, or what keeps it from being one. Messages are relative to `root`."""
    if problem := incomplete(root, name, image, mask):
        return problem
    content = Files(image[0].resolve(), mask[0].resolve())
    return Sample(name, split, relative(root, image[0]), relative(root, mask[0]), content)


def incomplete(root: Path, name: str, image: list[Path], mask: list[Path]) -> Problem | None:
    """Return the problem of a picture or mask that is missing or there twice."""
    for what, other, found in (("image", mask, image), ("mask", image, mask)):
        if len(found) > 1:
            files = " and ".join(sorted(relative(root, path) for path in found))
            return Problem(files, f"a duplicate name, {len(found)} files for {name}", f"one {what}")
        if not found:
            file = relative(root, other[0]) if other else name
            where = "its partner" if other else "a name in the list"
            return Problem(file, f"no {what} for {where}", f"a file of the same stem, {name}")
    return None
