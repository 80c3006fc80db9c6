"""The user's own images and masks in a folder: one module a layout, named in `LAYOUTS`.

To add a layout, write its module and add its name. The module's functions:

* `seen(root)` returns the evidence that a folder has this layout, for people; None without any.
* `samples(root, test_share, table)` yields the folder's samples, as `samples` here does.
* `labels(root)`, only for shapes with labels, returns the labels with their ids (0 without ids),
  `__ignore__` among them where there are regions to ignore.
"""

from importlib import import_module
from pathlib import Path
from typing import Any

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.sample import Samples

LAYOUTS = ("oxford", "voc", "carvana", "splits", "pairs", "coco", "labelme")
"""Most specific first: a pets folder would also match `pairs`."""


def open_layout(name: str) -> Any:
    """Return a layout's module, imported only now: every stage reads `LAYOUTS` with its params."""
    return import_module(f"{__name__}.{name}")


def samples(layout: str, root: Path, test_share: float, table: ClassTable) -> Samples:
    """Yield a folder's samples, test split first, each split in name order.

    Where the folder names no test split, `test_share` (0..1) of the names are held out. `table` has the
    classes that labels of shapes name; masks in files are not read here. Raises UserError where the
    folder, or a part of it that the layout needs, is missing, empty or malformed.
    """
    if not root.is_dir():
        raise UserError(f"data.folder.path: there is no folder {root}; set it to your data's folder")
    return open_layout(layout).samples(root, test_share, table)


def layouts_of(root: Path) -> dict[str, str]:
    """Return the layouts that a folder may have, the likeliest first, each with its evidence."""
    reasons = ((name, open_layout(name).seen(root)) for name in LAYOUTS)
    return {name: reason for name, reason in reasons if reason}
