"""Pairs of pictures and masks, by their paths.

A path tells three things: the *role* of a file, by a folder such as `images` or `masks`; its *part*, by
a folder such as `train` or `val`; and its *key*, which is all else. A picture and a mask of equal keys
are a pair. Before that, stems lose the usual endings (`NAME_mask`), or a prefix or ending that most
files of the folder share: `NAME_leftImg8bit` goes with `NAME_gtFine_labelIds`, and `img7` with
`mask7`. Where other files of these names look like masks too, and no name says which are meant, there is
no match.
"""

import os.path
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import NamedTuple

from segpipe.fetch.layouts import looks
from segpipe.fetch.layouts.matching import IMAGE_WORDS, MASK_WORDS, SUFFIXES, ByName, File

IMAGE_ENDINGS = ("_rgb", "_sat", "_image", "_img", "_leftimg8bit")
MASK_ENDINGS = (
    "_mask", "-mask", "_masks", "_label", "_labels", "_seg", "_segmentation", "_annot", "_gt", "_l",
    *sorted(SUFFIXES),  # Supervisely's NAME.jpg.png
)  # fmt: skip
"""Usual endings of stems, in small letters."""

_RANKS = (
    (re.compile("label_?train_?ids?$", re.IGNORECASE), 3),  # Cityscapes' 19 classes
    (re.compile("label_?ids?$", re.IGNORECASE), 2),  # its 34
    (re.compile("classaug$", re.IGNORECASE), 2),  # more of Pascal VOC's masks
    (re.compile("colou?r|instance|panoptic|preview|overlay|vis|depth", re.IGNORECASE), 0),
)
"""Rank of a file as a mask, by its ending: higher is better, other endings have 1."""

_BESIDE = re.compile("object|edge|contour|boundar|human|coarse", re.IGNORECASE)
"""Names of what often lies beside better masks, and looks like masks too."""

_MOST, _MANY = 0.9, 0.1  # shares of a folder's files that share a prefix or an ending
_LOOKED_AT = 8  # files of a kind that may be masks

Affix = tuple[str, str]  # what stands before and after the name that a picture and its mask share
USUAL: Affix = ("", "")  # nothing, or one of the usual endings


@dataclass
class Matched:
    """The pictures and masks of a part, by the name of the picture."""

    images: ByName = field(default_factory=dict)
    masks: ByName = field(default_factory=dict)
    unused: Counter[str] = field(default_factory=Counter)  # how many files are neither, by their kind
    rivals: list[str] = field(default_factory=list)  # kinds of masks among which nobody can choose

    @property
    def names(self) -> set[str]:
        """The names of the pictures that have a mask."""
        return self.images.keys() & self.masks.keys()


def match(files: Sequence[File]) -> Matched:
    """Match the pictures with the masks of one part."""
    sides = _sides(files)
    fits = [_usual(*side) for side in sides]
    if not any(fit.matched and fit.matched >= _MOST * len(fit.images) for fit in fits):
        fits += [fit for side in sides if side[0] is not side[1] for fit in _unusual(*side)]
    best = max(fits, key=_Fit.order, default=None)
    if not best or not best.matched:
        return Matched(unused=Counter(elsewhere(file) for file in files))
    rivals = [fit for fit in fits if fit.rank == best.rank and best.mask_affix != USUAL != fit.mask_affix
              and fit.affix == best.affix and fit.masks is best.masks]  # fmt: skip
    if len(rivals) > 1 and best.rank == 1:
        return Matched(rivals=["*".join(fit.mask_affix) for fit in rivals])
    fit = _with_rest(files, best)
    result, spare = _sorted_out(files, fit)
    if several := _several(fit, spare):
        return Matched(rivals=several)
    return result


def _sides(files: Sequence[File]) -> list[tuple[list[File], list[File]]]:
    """Return files that may be pictures, with those that may be their masks, by words of folders."""
    words: dict[str, list[File]] = {}
    for file in files:
        words.setdefault(file.word, []).append(file)
    roles = [(i, m) for i, m in product(words, words) if i not in MASK_WORDS and m not in IMAGE_WORDS]
    sides = [(words[i], words[m]) for i, m in roles if i != m]
    if "" in words:  # a folder may hold both
        jpegs, others = list[File](), list[File]()
        for file in words[""]:
            (jpegs if file.path.suffix.lower() in (".jpg", ".jpeg") else others).append(file)
        sides += [(words[""], words[""]), (jpegs, others)]
    return sides


class _Fit(NamedTuple):
    """A way to match pictures with masks."""

    images: list[File]
    masks: list[File]
    image_of: dict[File, File]  # by its mask
    affix: Affix
    mask_affix: Affix
    matched: int  # how many pictures have a mask

    @property
    def rank(self) -> int:
        """How well such files serve as masks."""
        return _rank("".join(self.mask_affix))

    def order(self) -> tuple:
        """Return a sort key, which is higher for a better fit."""
        image, mask = (side[0].word if side else "" for side in (self.images, self.masks))
        places = (*IMAGE_WORDS, "").index(image) + (*MASK_WORDS, "").index(mask)
        letters = len("".join(self.affix + self.mask_affix))
        return self.rank > 0, self.matched, self.rank, -letters, -places


def _rank(text: str) -> int:
    return next((rank for pattern, rank in _RANKS if pattern.search(text)), 1)


def _usual(images: list[File], masks: list[File]) -> _Fit:
    """Match by name and by the usual endings; a folder that holds both is given twice."""
    image_of = _lookup(_known(images, USUAL), _carried(masks, USUAL))
    if images is masks:
        marked = {f for f in masks if f in image_of or f.stem.lower().endswith(MASK_ENDINGS)}
        masks = [file for file in images if file in marked]
        images = [file for file in images if file not in marked]
        image_of = {mask: image for mask, image in image_of.items() if image not in image_of}
    return _Fit(images, masks, image_of, USUAL, USUAL, len({*image_of.values()}))


def _unusual(images: list[File], masks: list[File]) -> Iterator[_Fit]:
    """Yield the fits by affixes that the files themselves show."""
    known = {affix: _known(images, affix) for affix in _common(images, _MOST)}
    carried = {affix: _carried(masks, affix) for affix in _common(masks, _MANY)}
    for (affix, named), (mask_affix, carriers) in product(known.items(), carried.items()):
        image_of = _lookup(named, carriers)
        matched = len({*image_of.values()})
        needed = 2 if mask_affix == USUAL else max(2, _MOST * len(carriers))
        if (affix, mask_affix) != (USUAL, USUAL) and matched >= needed:
            yield _Fit(images, masks, image_of, affix, mask_affix, matched)


def _known(images: list[File], affix: Affix) -> dict[str, File]:
    """Return the pictures by their keys without the affix."""
    known: dict[str, File] = {}
    for file in images:
        for key in _keys(file, affix, IMAGE_ENDINGS):
            known.setdefault(key, file)
    return known


def _carried(masks: list[File], affix: Affix) -> dict[File, list[str]]:
    """Return the masks that have an affix, with their keys without it."""
    keys = ((mask, [*_keys(mask, affix, MASK_ENDINGS)]) for mask in masks)
    return {mask: own for mask, own in keys if own}


def _lookup(known: dict[str, File], carried: dict[File, list[str]]) -> dict[File, File]:
    """Return the picture of each mask."""
    image_of = {}
    for mask, keys in carried.items():
        partners = (known[key] for key in keys if key in known)
        if partner := next((file for file in partners if file is not mask), None):
            image_of[mask] = partner
    return image_of


def _keys(file: File, affix: Affix, endings: tuple[str, ...]) -> Iterator[str]:
    """Yield a file's place with its stem without the affix, the likeliest first."""
    place, stem = file.place.lower(), file.stem
    if affix == USUAL:
        yield place + stem
        lower = stem.lower()
        yield from (place + stem[: -len(end)] for end in endings if lower.endswith(end))
    elif len(stem) > len("".join(affix)) and stem.startswith(affix[0]) and stem.endswith(affix[1]):
        yield place + stem[len(affix[0]) : len(stem) - len(affix[1])]


def _common(files: Sequence[File], share: float) -> list[Affix]:
    """Return the affixes that a share of the files have, and the usual ones."""
    counts = Counter(affix for file in files for affix in _affixes(file.stem))
    return [USUAL, *(affix for affix, count in counts.items() if count >= max(2, share * len(files)))]


def _affixes(stem: str) -> Iterator[Affix]:
    """Yield the first word of a stem, and its endings of up to three words; numbers are names."""
    starts = [separator.start() for separator in re.finditer(r"[_\-. ]", stem)][-3:]
    yield from (("", stem[n:]) for n in starts if n and re.search(r"[^\W\d_]", stem[n:]))
    if word := re.match(r"[^\W\d_]+[_\-. ]?(?=.)", stem):
        yield word[0], ""


def _with_rest(files: Sequence[File], fit: _Fit) -> _Fit:
    """Add the pairs among all other files, such as those of a site that uses other words."""
    used, names = {*fit.image_of, *fit.image_of.values()}, {f.name for f in fit.image_of.values()}
    rest = [file for file in files if file.word and file not in used and file.name not in names]
    more = max((_usual(*side) for side in _sides(rest)), key=_Fit.order, default=fit)
    if more is fit or not more.matched or 2 * more.matched < len(more.images):
        return fit
    images, masks = (
        [*dict.fromkeys((*a, *b))] for a, b in ((fit.images, more.images), (fit.masks, more.masks))
    )
    image_of = fit.image_of | more.image_of
    matched = fit.matched + more.matched
    return _with_rest(
        files, fit._replace(images=images, masks=masks, image_of=image_of, matched=matched)
    )


def _several(fit: _Fit, spare: Sequence[File]) -> list[str]:
    """Return two masks of one picture where unused files look like masks too; else nothing."""
    own = _rank(f"{fit.masks[0].word}{''.join(fit.mask_affix)}")
    for kind, mask_of in sorted(_other_kinds(fit, spare).items()):
        if _rank(kind) < max(own, 1) or _BESIDE.search(kind) or len(mask_of) < _MANY * fit.matched:
            continue
        shown = sorted(mask_of)[:: max(1, len(mask_of) // _LOOKED_AT)]
        pairs = [(mask_of[file].path, file.path) for file in shown]
        if all(looks.like_mask(other) for _, other in pairs) and not looks.tell_the_same(pairs):
            above = os.path.commonpath(pairs[0])
            return [path.relative_to(above).as_posix() for path in pairs[0]]
    return []


def _other_kinds(fit: _Fit, spare: Sequence[File]) -> dict[str, dict[File, File]]:
    """Return the unused files by kind, each with the mask that is used for its picture.

    Their names are those of a picture or its mask, with another ending or in another folder.
    """
    shared = [affix[1] for affix in _common([*fit.image_of.values()], _MOST)]
    mask_of = {mask.name.lower(): mask for mask in fit.image_of}
    for mask, image in fit.image_of.items():
        for key in (*_keys(image, fit.affix, IMAGE_ENDINGS), *map(image.name.removesuffix, shared)):
            mask_of.setdefault(key.lower(), mask)
    kinds: dict[str, dict[File, File]] = {}
    for file in (file for file in spare if file.word not in IMAGE_WORDS):
        candidates = ((kind, name.lower()) for kind, name in _kinds(file))
        if match := next(((kind, name) for kind, name in candidates if name in mask_of), None):
            kinds.setdefault(f"{file.word} {match[0]}".strip(), {})[file] = mask_of[match[1]]
    return kinds


def _kinds(file: File) -> Iterator[tuple[str, str]]:
    """Yield a folder and an ending that may tell a file's kind, and its name without these."""
    folders = file.place.split("/")[:-1]
    places = [("", file.place)]
    for n, folder in enumerate(folders):
        others = folders[:n] + folders[n + 1 :]
        places.append((folder, "".join(f"{other}/" for other in others)))
    ends = ["", *(end for _, end in _affixes(file.stem) if end)]
    for (folder, place), end in product(places, ends):
        yield f"{folder}{end}", place + file.stem.removesuffix(end)


def _sorted_out(files: Sequence[File], fit: _Fit) -> tuple[Matched, list[File]]:
    """Return the pairs, with the pictures and masks that lack a partner, and all other files."""
    result, spare = Matched(), list[File]()
    images, masks, matched = {*fit.images}, {*fit.masks}, {*fit.image_of.values()}
    either = images | masks
    stems = {file.name.lower() for file in (*matched, *fit.image_of)}
    stems |= {key.lower() for image in matched for key in _keys(image, fit.affix, IMAGE_ENDINGS)}
    places = {file.place for file in matched}
    common = {affix[1] for affix in _common(fit.masks, _MANY) if affix[1]}
    for file in files:
        ending = next((end for _, end in _affixes(file.stem) if end in common
                       and file.name.removesuffix(end).lower() in stems), "")  # fmt: skip
        if file in fit.image_of:
            result.masks.setdefault(fit.image_of[file].name, []).append(file.path)
        elif file in matched:
            result.images.setdefault(file.name, []).append(file.path)
        elif file not in either or (not file.word and file.place not in places):
            result.unused[elsewhere(file)] += 1
            spare.append(file)
        elif ending and (file in masks or not file.word):
            result.unused[f"pictures called *{ending}"] += 1
            spare.append(file)
        else:
            side = result.images if file in images else result.masks
            side.setdefault(file.name, []).append(file.path)
    return result, spare


def elsewhere(file: File) -> str:
    """Return the kind of an unused file, for people."""
    return f"pictures in {file.path.parent.name}/"
