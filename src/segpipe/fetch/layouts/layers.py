"""One binary mask an object, or one a class; what is not 0 is covered.

Objects: `NAME/images/NAME.png` and `NAME/masks/*.png`, as in the 2018 Data Science Bowl; all are of one
class, whose label is `object`. Classes: pictures in `images/`, and a folder for each class with masks of
their names: `masks/CLASS/NAME.png`, or `CLASS/NAME_mask.png`. The folder's name is the label, even if
it is `train` or `target`. Where masks overlap, the class that stands later in the class table wins.
Splits are as in `pairs`.
"""

import contextlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from segpipe.common.classes import ClassTable, class_name
from segpipe.common.words import width_by_height
from segpipe.fetch.layouts import lists, looks, matching, pairs, partners, polygons, texts
from segpipe.fetch.layouts.matching import IMAGE_WORDS, MASK_WORDS, File, relative
from segpipe.fetch.layouts.partners import Matched
from segpipe.fetch.pictures import stored_size
from segpipe.fetch.pillow import open_file, unturned_size
from segpipe.fetch.sample import BadSampleError, Mask, Note, Problem, Sample, Samples, Split

OBJECT = "object"
CLASS_ORDER = "where masks overlap, the class that stands later in data.classes wins"
_MARKED = re.compile("[_-](mask|label|gt|seg)s?$", re.IGNORECASE)


def label_in(table: ClassTable, label: str, number: int | None = None) -> str:
    """Return a label, or the name of its class if a person renamed that and kept its value `number`.

    An object is of the only class that is not the background.
    """
    others = [c.name for index, c in enumerate(table.classes) if index != table.uncovered]
    if class_name(label) in table.names or label in table.values:
        return label
    if label == OBJECT and len(others) == 1:
        return others[0]
    return next((c.name for c in table.classes if number in c.values), label)


@dataclass(frozen=True)
class Layers:
    """Content whose masks are laid over each other where it is read."""

    image: Path
    masks: tuple[tuple[str, Path], ...]  # with their labels, sorted
    table: ClassTable
    file: str

    def read(self) -> tuple[bytes, Mask]:
        """Return the image's bytes, and the mask. Raises BadSampleError where masks do not fit."""
        masks = sorted(self.masks, key=lambda mask: (self.table.index_of(mask[0]) or 0, *mask))
        drawing, image = np.zeros((0, 0), np.int32), self.image.read_bytes()
        try:
            turn = stored_size(image, self.file)[1]
        except BadSampleError:  # decoding it reports that
            return image, b""
        for number, (_, path) in enumerate(masks, 1):
            file = f"{self.file}: {path.parent.name}/{path.name}"
            covered = _covered(path, file, turn)
            drawing = drawing if drawing.size else np.zeros(covered.shape, np.int32)
            if covered.shape != drawing.shape:
                expected = f"that of the others, {width_by_height(drawing.shape)}"
                size = f"size {width_by_height(covered.shape)}"
                raise BadSampleError(file, size, expected)
            drawing[covered] = number
        labels = [label for label, _ in masks]
        return image, polygons.indices(drawing, labels, self.table, self.file)

    def mask_size(self) -> tuple[int, int]:
        """Return the height and width of the first mask. Raises as `open_file` does."""
        with open_file(self.masks[0][1]) as mask:
            return unturned_size(mask)


def _covered(path: Path, file: str, image_turn: int) -> np.ndarray:
    """Return the covered pixels of a binary mask. Raises BadSampleError, naming `file`, for others.

    `image_turn` is the EXIF orientation of its image.
    """
    values, turn = looks.values_and_turn(path, file)
    if turn not in (1, image_turn):
        raise BadSampleError(file, f"EXIF orientation {turn}", f"none, or the image's, {image_turn}")
    present = np.unique(values)
    if np.count_nonzero(present) > 1:
        shown = ", ".join(map(str, present[:4]))
        raise BadSampleError(file, f"{len(present)} values ({shown})", "0 and one other value")
    return values > 0


def seen(root: Path) -> str | None:
    """Look for pictures with several masks, or with one in the folder of each class.

    One mask is read: a folder of masks of several values is no class, whatever it is called.
    """
    parts, label_of = _matched(root)
    if not any(part.names for part in parts.values()):
        return None
    with contextlib.suppress(BadSampleError, OSError):  # reading its sample reports that
        if np.count_nonzero(np.unique(looks.values_of(next(iter(label_of)), "a mask"))) > 1:
            return None
    shown = sorted({*label_of.values()})
    if shown == [OBJECT]:
        return "NAME/images/ with NAME/masks/, a mask an object"
    return f"a folder of masks for each class: {', '.join(shown[:8])}{' ...' * (len(shown) > 8)}"


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples."""
    parts, label_of = _matched(root)

    def to_sample(
        root: Path, name: str, split: Split | None, image: list[Path], masks: list[Path]
    ) -> Sample | Problem:
        if problem := pairs.incomplete(root, name, image, masks[:1]):
            return problem
        labelled = tuple(sorted((label_in(table, label_of[mask]), mask.resolve()) for mask in masks))
        file = relative(root, masks[0].parent)
        content = Layers(image[0].resolve(), labelled, table, file)
        return Sample(name, split, relative(root, image[0]), file, content)

    if len({*label_of.values()}) > 1:
        yield Note(CLASS_ORDER)
    yield from pairs.of_parts(root, parts, lists.lists_in(root), to_sample)


def labels(root: Path) -> dict[str, int]:
    """Return the labels in alphabetical order, without ids (see `segpipe.fetch.layouts`)."""
    parts, label_of = _matched(root)
    used = {label_of[mask] for part in parts.values() for masks in part.masks.values() for mask in masks}
    return dict.fromkeys(sorted(used), 0)


def _matched(root: Path) -> tuple[Mapping[str, Matched], dict[Path, str]]:
    """Return the pictures with all their masks by part, and the label of each mask."""
    of_part: dict[str, list[File]] = {}
    files = matching.all_parsed(root, [*filter(matching.is_image, texts.visible(root))])
    for file in files:
        of_part.setdefault(file.part, []).append(file)
    labelled = _labelled(root, files)
    label_of: dict[Path, str] = {}
    parts = {}
    for word, files_there in of_part.items():
        objects = _objects(files_there)
        parts[word] = objects if objects.names else _classes(files_there, labelled, label_of)
        label_of |= {path: OBJECT for masks in objects.masks.values() for path in masks}
    sides = [side for part in parts.values() for side in (part.images, part.masks)]
    used = {path for side in sides for paths in side.values() for path in paths}
    for word, files_there in of_part.items():
        parts[word].unused += Counter(partners.elsewhere(f) for f in files_there if f.path not in used)
    return parts, label_of


def _labelled(root: Path, files: list[File]) -> list[tuple[str, File]]:
    """Return each file in the folder of a class with its label, as if it lay outside that folder."""
    folders = {file.path.parent for file in files} - {root}
    outside = {folder.path: folder for folder in matching.all_parsed(root, sorted(folders))}
    candidates = [_inside(file, outside.get(file.path.parent)) for file in files]
    inside = [labelled for labelled in candidates if labelled]
    beside: dict[tuple[str, str], set[str]] = {}
    for label, file in inside:
        beside.setdefault((file.part, file.place), set()).add(label)
    classes = {where for where, labels in beside.items() if _are_classes(labels)}
    return [(label, file) for label, file in inside if (file.part, file.place) in classes]


def _are_classes(labels: set[str]) -> bool:
    """Return whether folders beside each other are classes, of which one may be called `train` or `gt`.

    Folders of several splits are none; nor is a folder of such a name alone.
    """
    splits = {matching.SPLIT_WORDS[word] for word in matching.split_words(labels).values()}
    alone = len(labels) == 1 and (splits or matching.tells_role(*labels))
    return not alone and len(splits) < 2


def _inside(file: File, outside: File | None) -> tuple[str, File] | None:
    """Return the label of a mask, and the mask; `outside` is the folder that it lies in."""
    if outside and outside.word in MASK_WORDS:
        label = matching.normal(outside.path.name)
        return label, file._replace(word="masks", part=outside.part, place=outside.place)
    place, _, label = file.place.rstrip("/").rpartition("/")
    if label and (file.word in MASK_WORDS or _MARKED.search(file.stem)):
        return label, file._replace(word="masks", place=f"{place}/" if place else "")
    return None


def _objects(files: list[File]) -> Matched:
    """Return the pictures that are alone in their folder, by its name, with all masks that are there."""
    matched = Matched()
    for file in files:
        name = file.place.rstrip("/")
        if file.word in IMAGE_WORDS:
            matched.images.setdefault(name, []).append(file.path)
        elif file.word in MASK_WORDS:
            matched.masks.setdefault(name, []).append(file.path)
    several = any(len(matched.masks[name]) > 1 for name in matched.names)
    if "" in matched.names or not several or any(len(paths) > 1 for paths in matched.images.values()):
        return Matched()
    matched.images = {name: paths for name, paths in matched.images.items() if name in matched.masks}
    return matched


def _classes(files: list[File], labelled: list[tuple[str, File]], label_of: dict[Path, str]) -> Matched:
    """Return the pictures with their masks from the folders of all classes, whose labels are added."""
    images = [file for file in files if file.word in IMAGE_WORDS]
    images = images or [
        file for file in files if not file.word and file.place.count("/") <= bool(file.part)
    ]
    places = {(file.part, file.place) for file in images}
    folders: dict[str, list[File]] = {}
    for label, file in labelled:
        if (file.part, file.place) in places:
            folders.setdefault(label, []).append(file)
    matched = Matched()
    for label, masks_of_class in sorted(folders.items()):
        of_class = partners.match([*images, *masks_of_class])
        label_of |= {mask: label for masks in of_class.masks.values() for mask in masks}
        matched.rivals += of_class.rivals
        matched.images |= of_class.images
        for name, masks in of_class.masks.items():
            matched.masks.setdefault(name, []).extend(masks)
    return matched
