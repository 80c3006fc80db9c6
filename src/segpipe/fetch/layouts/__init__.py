"""The user's own pictures and labels in a folder: one module a layout, named in `LAYOUTS`.

To add a layout, write its module and add its name. The module's functions:

* `seen(root)` returns the evidence that a folder has this layout, for people; None without any.
* `samples(root, table)` yields samples, problems and notes in any order. A sample's split is None where
  the folder does not say it.
* `labels(root)`, only for shapes with labels, returns the labels with their ids (0 without ids),
  `__ignore__` among them where there are regions to ignore.
* `names(root)`, only where the layout has a file of names, returns the names of mask values,
  `__ignore__` for those to ignore.
"""

import dataclasses
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.files import name_hash
from segpipe.fetch.layouts import versions
from segpipe.fetch.sample import Note, Problem, Sample, Samples, Split

LAYOUTS = (
    "oxford", "voc", "carvana", "nnunet", "roboflow", "splits", "pairs", "layers", "rle", "yolo", "cvat",
    "label_studio", "label_studio_png", "coco", "labelme",
)  # fmt: skip
"""Most specific first: a pets folder would also match `pairs`."""

SPLITS: tuple[Split, ...] = ("test", "val", "train")
"""In the order of the samples: the test pictures are known before the first training sample is kept."""


def open_layout(name: str) -> Any:
    """Return a layout's module, imported only now: every stage reads `LAYOUTS` with its params."""
    return import_module(f"{__name__}.{name}")


def samples(
    layout: str, root: Path, test_share: float, table: ClassTable, group: Any = "none"
) -> Samples:
    """Yield a folder's notes, then its samples and problems: test split first, each split by name.

    Where the folder names no split for a sample, `test_share` (0..1) of the groups are held out by hash.
    `table` has the classes that labels of shapes name; masks in files are not read here. `group` is the
    param of the same name; a sample that is in another split than its group is a problem. Raises
    UserError where the folder, or a part of it that the layout needs, is missing, empty or malformed.
    """
    return parted(read(layout, root, table), root, test_share, group)


def read(layout: str, root: Path, table: ClassTable) -> list[Sample | Problem | Note]:
    """Return the samples, problems and notes of a folder, with the view that each mask was drawn on."""
    if fault := not_a_folder(root):
        raise UserError(f"data.folder.path: {fault}; set it to your data's folder")
    from segpipe.fetch import views  # reads pictures, which callers that only read params do not need

    found = list(versions.grouped(open_layout(layout).samples(root, table)))
    of_folder, notes = views.decided([item for item in found if isinstance(item, Sample)])
    return [*(item for item in found if not isinstance(item, Sample)), *notes, *of_folder]


def parted(
    found: Sequence[Sample | Problem | Note], root: Path, test_share: float, group: Any
) -> Samples:
    """Yield the result of `read` as `samples` does."""
    from segpipe.fetch import groups

    of_folder, notes = groups.assigned([item for item in found if isinstance(item, Sample)], group, root)
    yield from (item for item in found if isinstance(item, Note))
    yield from notes
    yield from (item for item in found if isinstance(item, Problem))
    split = [dataclasses.replace(s, split=s.split or split_by_hash(s, test_share)) for s in of_folder]
    split.sort(key=lambda s: (SPLITS.index(s.split or "train"), s.name))
    yield from groups.unparted(split)


def not_a_folder(root: Path) -> str | None:
    """Return, in words, why a path is no folder; None where it is one."""
    if root.is_dir():
        return None
    if not root.exists():
        return f"there is no folder {root}"
    from segpipe.fetch.layouts import matching  # itself imports this package

    packed = root.suffix.lower() in matching.ARCHIVES
    return (
        f"{root} is an archive, which you unpack first" if packed else f"{root} is a file, not a folder"
    )


def split_by_hash(sample: Sample, test_share: float) -> Split:
    """Return the split of a sample that no list and no folder puts into one."""
    return "test" if name_hash(sample.group or sample.name, "test") < test_share else "train"


def layouts_of(root: Path) -> dict[str, str]:
    """Return the layouts that a folder may have, the likeliest first, each with its evidence."""
    reasons = ((name, open_layout(name).seen(root)) for name in LAYOUTS)
    return {name: reason for name, reason in reasons if reason}
