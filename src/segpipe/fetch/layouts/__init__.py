"""The user's own images and masks in a folder: one module a layout.

To add a layout, write a module with the functions of `Layout`, and put its name into `LAYOUTS`. A layout
of shapes with labels also has `labels(root)`, which returns the labels with their ids (0 where it has no
ids), `__ignore__` among them where there are regions to ignore.
"""

from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.sample import Samples

LAYOUTS = ("oxford", "voc", "carvana", "splits", "pairs", "coco", "labelme")
"""Most specific first: a pets folder would also match `pairs`."""


class Layout(Protocol):
    """The functions of a layout's module."""

    def seen(self, root: Path) -> str | None:
        """Return the evidence that a folder has this layout, for people; None without any."""

    def samples(self, root: Path, test_share: float, table: ClassTable) -> Samples:
        """Yield the folder's samples, as `segpipe.fetch.layouts.samples` does."""


def open_layout(name: str) -> Layout:
    """Return a layout's module, imported only now: every stage reads `LAYOUTS` with its params."""
    return cast(Layout, import_module(f"{__name__}.{name}"))


def samples(layout: str, root: Path, test_share: float, table: ClassTable) -> Samples:
    """Yield a folder's samples, test split first, each split in name order.

    Args:
        layout: one of `LAYOUTS`.
        root: the folder.
        test_share: share of names to hold out for testing where nothing in the folder says which, 0..1.
        table: the classes that labels of shapes name. Masks in files are not read here.

    Raises:
        UserError: the folder, or a part of it that the layout needs, is missing or empty.
    """
    if not root.is_dir():
        raise UserError(f"data.folder.path: there is no folder {root}; set it to your data's folder")
    return open_layout(layout).samples(root, test_share, table)


def layouts_of(root: Path) -> dict[str, str]:
    """Return the layouts that a folder may have, the likeliest first, each with its evidence."""
    reasons = ((name, open_layout(name).seen(root)) for name in LAYOUTS)
    return {name: reason for name, reason in reasons if reason}
