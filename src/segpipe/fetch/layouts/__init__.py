"""The user's own images and masks in a folder: one module a layout.

Each has `seen`, what in a folder speaks for it, and `samples`.
"""

from collections.abc import Iterator
from pathlib import Path

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.fetch.layouts import carvana, coco, labelme, oxford, pairs, splits, voc
from segpipe.fetch.params import FolderParams
from segpipe.fetch.sample import Problem, Sample

_SEEN = {
    "oxford": oxford.seen, "voc": voc.seen, "carvana": carvana.seen, "splits": splits.seen,
    "pairs": pairs.seen, "coco": coco.seen, "labelme": labelme.seen,
}  # fmt: skip
"""By layout, the telling ones first: what has the pets' lists is more than images and masks in pairs."""


def samples(params: FolderParams, table: ClassTable) -> Iterator[Sample | Problem]:
    """Yield the folder's samples, test split first, each split in name order.

    Args:
        params: the folder, its layout, and the share of names to hold out where nothing says which.
        table: what the labels of polygons are; masks in files are not read here.

    Raises:
        UserError: the folder, or a part of it that the layout needs, is not there or is empty.
    """
    root, share = Path(params.path), params.test_share
    if not root.is_dir():
        raise UserError(f"data.folder.path: there is no folder {root}; set it to your data's folder")
    if params.layout == "oxford":
        return oxford.samples(root)
    if params.layout == "coco":
        return coco.samples(root, share, table)
    if params.layout == "labelme":
        return labelme.samples(root, share, table)
    of_files = {"pairs": pairs, "splits": splits, "voc": voc, "carvana": carvana}
    return of_files[params.layout].samples(root, share)


def layouts_of(root: Path) -> dict[str, str]:
    """The layouts that a folder may have, the likeliest first, each with what speaks for it."""
    reasons = ((layout, seen(root)) for layout, seen in _SEEN.items())
    return {layout: reason for layout, reason in reasons if reason}
