"""The user's own pictures and labels in a folder: one module a layout, named in `LAYOUTS`.

To add a layout, write its module and add its name. The module's functions:

* `seen(root)` returns the evidence that a folder has this layout, for people; None without any.
* `samples(root, table)` yields samples, problems and notes in any order. A sample's split is None where
  the folder does not say it.
* `labels(root)`, only for shapes with labels, returns the labels with their ids (0 without ids),
  `__ignore__` among them where there are regions to ignore.
"""

import dataclasses
from importlib import import_module
from pathlib import Path
from typing import Any

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.files import name_hash
from segpipe.fetch.sample import Note, Problem, Sample, Samples, Split

LAYOUTS = (
    "oxford",
    "voc",
    "carvana",
    "splits",
    "pairs",
    "cvat",
    "label_studio",
    "label_studio_png",
    "coco",
    "labelme",
)
"""Most specific first: a pets folder would also match `pairs`."""

SPLITS: tuple[Split, ...] = ("test", "val", "train")
"""In the order of the samples: the test pictures are known before the first training sample is kept."""


def open_layout(name: str) -> Any:
    """Return a layout's module, imported only now: every stage reads `LAYOUTS` with its params."""
    return import_module(f"{__name__}.{name}")


def samples(layout: str, root: Path, test_share: float, table: ClassTable) -> Samples:
    """Yield a folder's notes, then its samples and problems: test split first, each split by name.

    Where the folder names no split for a sample, `test_share` (0..1) of the groups are held out by hash.
    `table` has the classes that labels of shapes name; masks in files are not read here. Raises
    UserError where the folder, or a part of it that the layout needs, is missing, empty or malformed.
    """
    if not root.is_dir():
        raise UserError(f"data.folder.path: there is no folder {root}; set it to your data's folder")
    from segpipe.fetch import views  # reads pictures, which those who only read params need not

    found = list(open_layout(layout).samples(root, table))
    of_folder, notes = views.decided([one for one in found if isinstance(one, Sample)])
    yield from (one for one in found if isinstance(one, Note))
    yield from notes
    yield from (one for one in found if isinstance(one, Problem))
    split = [dataclasses.replace(s, split=s.split or split_by_hash(s, test_share)) for s in of_folder]
    yield from sorted(split, key=lambda s: (SPLITS.index(s.split or "train"), s.name))


def split_by_hash(sample: Sample, test_share: float) -> Split:
    """Return the split of a sample that no list and no folder puts into one."""
    return "test" if name_hash(sample.group or sample.name, "test") < test_share else "train"


def layouts_of(root: Path) -> dict[str, str]:
    """Return the layouts that a folder may have, the likeliest first, each with its evidence."""
    reasons = ((name, open_layout(name).seen(root)) for name in LAYOUTS)
    return {name: reason for name, reason in reasons if reason}
