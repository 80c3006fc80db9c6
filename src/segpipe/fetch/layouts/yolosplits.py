"""Which pictures a YOLO data set has, where their labels are, and in which split they are."""

import re
from collections import Counter
from collections.abc import Container
from pathlib import Path, PurePosixPath

from segpipe.fetch.layouts import matching, texts
from segpipe.fetch.layouts.yolotexts import Config

_SPLIT = re.compile(rf"({'|'.join(matching.SPLIT_WORDS)})[-_]?\d*", re.IGNORECASE)

Found = dict[str, set[str]]  # pictures by split


def label_of(picture: str) -> str:
    """Return the path of a picture's labels, as Ultralytics finds them."""
    folders = folders_of(picture)
    if "images" in folders:
        folders[len(folders) - 1 - folders[::-1].index("images")] = "labels"
    return "/".join([*folders, f"{PurePosixPath(picture).stem}.txt"])


def folders_of(path: str) -> list[str]:
    """Return the names of the folders of a file."""
    return path.split("/")[:-1]


class Files:
    """The pictures and texts below a folder, by relative path in the one form of Unicode."""

    def __init__(self, root: Path) -> None:
        self.root = root
        found = {matching.normal(matching.relative(root, p)): p for p in texts.visible(root)}
        self.pictures = {name: path for name, path in found.items() if matching.is_image(path)}
        listed = {name: path for name, path in found.items() if path.suffix.lower() == ".txt"}
        self.texts = {name[:-4] + ".txt": path for name, path in listed.items()}
        self.folders = {f"{folder}" for name in self.pictures for folder in PurePosixPath(name).parents}
        self.labelled = {name.rpartition("/")[0] for name in self.texts}

    def below(self, folder: str) -> set[str]:
        """Return the pictures in a folder and below."""
        return {name for name in self.pictures if folder == "." or name.startswith(f"{folder}/")}

    def resolve(self, entry: str, known: Container[str], place: str = "") -> str | None:
        """Return the longest end of another machine's path that is `known` here, first in `place`."""
        parts = [part for part in texts.local(entry).parts if part not in ("..", ".", "/")]
        # A path in the folder of a split never matches one in another folder. A folder above the
        # set may bear such a name too; that of a split lies beside `images`, or is the last.
        splits = [
            number
            for number, part in enumerate(parts)
            if _SPLIT.fullmatch(part)
            and ("images" in parts[max(number - 1, 0) : number + 2] or number >= len(parts) - 2)
        ]
        for start in range(splits[-1] + 1 if splits else len(parts)):
            end = "/".join(parts[start:])
            if there := next((path for path in (place + end, end) if path in known), None):
                return there
        whole = place.rstrip("/") or "."
        return whole if not parts and whole in known else None


def splits(files: Files, config: Config) -> tuple[Found, list[str]]:
    """Return the pictures of each split, "" where nothing tells it, and notes.

    `data.yaml` decides; for the splits that it does not name, and without it, the names of folders do.
    """
    found, notes = _of_entries(files, config)
    named = config.file.name if config.file else "data.yaml"
    by_word = _of_folders(files, {name for names in found.values() for name in names})
    free = {word for word in by_word if word not in found and (word or not found)}
    unused = Counter(_folder(name) for word in by_word.keys() - free for name in by_word[word])
    for folder, count in sorted(unused.items()):
        notes.append(f"{folder}/: {count} pictures that {named} does not name are left out")
    found |= {word: by_word[word] for word in free}
    for folder, count in sorted(_unlabelled(files, found).items()):
        notes.append(f"{folder}/: {count} pictures are left out, as there is no folder of their labels")
    for word, other in (("test", "train"), ("val", "train"), ("val", "test")):
        if found.get(word) and found[word] == found.get(other):
            notes.append(
                f"{named}: {word} has the pictures of {other}; they are taken for {other} alone"
            )
            del found[word]
    return {word: names for word, names in found.items() if names}, notes


def _of_folders(files: Files, used: set[str]) -> Found:
    """Return the other pictures in folders called `images`, by the split that a folder's name tells."""
    found: Found = {}
    for name in files.pictures.keys() - used:
        if "images" in folders_of(name):
            words = (_SPLIT.fullmatch(folder) for folder in folders_of(name))
            found.setdefault(
                next((matching.SPLIT_WORDS[m[1].lower()] for m in words if m), ""), set()
            ).add(name)
    return found


def _of_entries(files: Files, config: Config) -> tuple[Found, list[str]]:
    """Return the pictures of the folders and lists in `data.yaml`."""
    found, notes = Found(), []
    own = matching.relative(files.root, config.file.parent) if config.file else "."
    place = "" if own == "." else f"{matching.normal(own)}/"
    for word, entry in ((word, entry) for word, entries in config.entries.items() for entry in entries):
        if folder := files.resolve(entry, files.folders, place):
            found.setdefault(word, set()).update(files.below(folder))
        elif listed := files.resolve(entry, files.texts, place):
            lines = texts.lines(files.texts[listed])
            named = [files.resolve(line, files.pictures, place) for line in lines]
            found.setdefault(word, set()).update(filter(None, named))
            if missing := named.count(None):
                notes.append(f"{listed}: {missing} of {len(named)} lines name no picture in the folder")
        elif config.file:
            notes.append(f"{config.file.name}: {word} is {entry.strip('/')}, which is not in the folder")
    return found, notes


def _unlabelled(files: Files, found: Found) -> Counter[str]:
    """Take the pictures out for whose labels there is no folder, and count them by folder."""
    counts = Counter[str]()
    for names in found.values():
        for name in [name for name in names if not _has_labels(files, name)]:
            counts[_folder(name)] += 1
            names.remove(name)
    return counts


def _has_labels(files: Files, name: str) -> bool:
    folder = label_of(name).rpartition("/")[0]
    return folder in files.labelled or ("images" in folders_of(name) and (files.root / folder).is_dir())


def _folder(name: str) -> str:
    return "/".join(folders_of(name)) or "."
