"""nnU-Net's 2-D pictures: `imagesTr/NAME_0000.png`, one file a channel, and `labelsTr/NAME.png`.

The format of https://github.com/MIC-DKFZ/nnUNet, versions 1 and 2. A single `NAME_0000.png` may be an
RGB picture. `imagesTs` with `labelsTs` is the test split; without labels it is not used. `dataset.json`
names the values. Where regions overlap (`[1, 2, 3]` and `[2, 3]`), a pixel belongs to the smallest that
holds it, which is how nnU-Net itself writes regions into one mask.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydantic

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.layouts import matching, texts
from segpipe.fetch.layouts.polygons import IGNORE_LABEL
from segpipe.fetch.pillow import open_file, unturned_size
from segpipe.fetch.sample import Files, Note, Picture, Problem, Sample, Samples, Split

_PARTS = {"Tr": "train", "Val": "val", "Ts": "test"}
_CHANNEL = re.compile(r"(?P<case>.+)_(?P<channel>\d{4})")
_VOLUME = re.compile(r"\.(nii|nii\.gz|nrrd|mha|mhd|gipl|hdr)$", re.IGNORECASE)

Channels = dict[int, Path]


class Dataset(pydantic.BaseModel):
    """The parts of `dataset.json` that are read; names by value in version 1, values by name in 2."""

    labels: dict[str, int | str | list[int]]
    channel_names: dict[str, str] | list[str] = pydantic.Field(
        default_factory=list, validation_alias=pydantic.AliasChoices("channel_names", "modality")
    )

    def values(self) -> dict[str, list[int]]:
        """Return the values of each name. Raises ValueError where a label has neither."""
        if all(name.isdecimal() for name in self.labels):
            return {str(label): [int(value)] for value, label in self.labels.items()}
        items = self.labels.items()
        return {name: [int(v) for v in (vs if isinstance(vs, list) else [vs])] for name, vs in items}


@dataclass(frozen=True)
class Bands:
    """Content in one file a channel, and a mask."""

    image: Path  # the first channel
    others: tuple[Path, ...]
    mask: Path

    def read(self) -> tuple[Picture, bytes]:
        """Return the bytes of all files."""
        return tuple(path.read_bytes() for path in (self.image, *self.others)), self.mask.read_bytes()

    def mask_size(self) -> tuple[int, int]:
        """Return the height and width of the mask. Raises what Pillow raises."""
        with open_file(self.mask) as mask:
            return unturned_size(mask)


def seen(root: Path) -> str | None:
    """Look for the two folders for training."""
    there = (root / "imagesTr").is_dir() and (root / "labelsTr").is_dir()
    return "imagesTr/ and labelsTr/, as nnU-Net has them" if there else None


def samples(root: Path, table: ClassTable) -> Samples:
    """Yield the samples. Raises UserError where there is no picture, or a volume."""
    if not seen(root):
        raise UserError(f"{root}: no imagesTr/ and labelsTr/; this layout looks for these two folders")
    parts = [part for part in _PARTS if (root / f"images{part}").is_dir()]
    labelled = [part for part in parts if (root / f"labels{part}").is_dir()]
    for part in parts:
        if part not in labelled:
            count = sum(1 for _ in texts.visible(root / f"images{part}"))
            yield Note(f"images{part}/: {count} files are not used, as there is no labels{part}/")
    cases = {part: _cases(root / f"images{part}") for part in labelled}
    usual = Counter(tuple(sorted(case)) for of_part in cases.values() for case in of_part.values())
    if not usual:
        raise UserError(f"{root / 'imagesTr'}: no picture called NAME_0000.png or the like")
    channels = usual.most_common(1)[0][0]
    yield from map(Note, _remarks(root, channels))
    splits = matching.splits_of(_PARTS[part] for part in labelled)
    for part in labelled:
        split = splits[_PARTS[part]] if len(splits) > 1 else None
        masks = _by_name(root / f"labels{part}")
        for name in sorted(cases[part].keys() | masks.keys()):
            yield _sample(
                root, (part, name), split, cases[part].get(name, {}), masks.get(name), channels
            )


def names(root: Path) -> dict[int, str]:
    """Return the names of the mask values, `__ignore__` for those to ignore."""
    name_of: dict[int, str] = {}
    values = _values(root)
    for name in sorted(values, key=lambda name: -len(values[name])):  # the smallest regions last
        name_of |= dict.fromkeys(values[name], IGNORE_LABEL if name == "ignore" else name)
    return {value: name_of[value] for value in sorted(name_of) if 0 <= value <= 255}


def _values(root: Path) -> dict[str, list[int]]:
    file = root / "dataset.json"
    if not file.is_file():
        return {}
    try:
        return texts.model(file, Dataset).values()
    except ValueError:
        raise UserError(
            f"{file}: labels are neither `name: value` nor `value: name`; mend them"
        ) from None


def _remarks(root: Path, channels: Sequence[int]) -> Iterator[str]:
    """Yield remarks on `dataset.json`."""
    file = root / "dataset.json"
    if not file.is_file():
        yield "there is no dataset.json: the classes have no names"
        return
    if regions := [name for name, values in _values(root).items() if len(values) > 1]:
        listed = ", ".join(regions[:5])
        yield f"dataset.json: regions overlap ({listed}); a pixel is of the smallest that holds it"
    named = len(texts.model(file, Dataset).channel_names)
    if named != len(channels) and len(channels) > 1:
        yield f"dataset.json names {named} channels; pictures have {len(channels)} files"


def _cases(folder: Path) -> dict[str, Channels]:
    """Return the files of each case by channel, -1 for one without a number."""
    cases: dict[str, Channels] = {}
    for name, path in _by_name(folder).items():
        match = _CHANNEL.fullmatch(name)
        case, channel = (match["case"], int(match["channel"])) if match else (name, -1)
        cases.setdefault(case, {})[channel] = path
    return cases


def _by_name(folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder. Raises UserError for a volume, and for two of one name."""
    found = list(texts.visible(folder))
    if volume := next((path for path in found if _VOLUME.search(path.name)), None):
        mend = "save the slices as PNG or TIFF, one file a slice and channel"
        raise UserError(f"{volume}: a volume; segpipe takes single pictures: {mend}")
    named: dict[str, Path] = {}
    for path in filter(matching.is_image, found):
        if (other := named.setdefault(matching.without_suffix(folder, path), path)) != path:
            raise UserError(f"{other} and {path}: two files of one name; remove one")
    return named


def _sample(
    root: Path, case: tuple[str, str], split: Split | None, files: Channels, mask: Path | None,
    channels: Sequence[int],
) -> Sample | Problem:  # fmt: skip
    """Return the sample of a case of a part, or what keeps it from being one."""
    part, name = case
    if not files and mask:
        expected = f"images{part}/{name}_0000{mask.suffix}"
        return Problem(matching.relative(root, mask), "no image for its partner", expected)
    first = files[min(files)]
    file = matching.relative(root, first)
    if not mask:
        return Problem(file, "no mask for its partner", f"labels{part}/{name}{first.suffix}")
    if tuple(sorted(files)) != tuple(channels):
        have, usual = (", ".join(f"{n:04d}" for n in numbers) for numbers in (sorted(files), channels))
        found = "no channel in its name" if -1 in files else f"channels {have}"
        return Problem(file, found, f"{usual}, as most pictures have")
    image, *others = (files[channel].resolve() for channel in channels)
    content = Bands(image, (*others,), mask.resolve()) if others else Files(image, mask.resolve())
    return Sample(name, split, file, matching.relative(root, mask), content)
