"""Masks as labels for annotators' tools: one module a tool; the tool's reader in `fetch` reads them.

Each module has a class `Labels`. Masks go out as run lengths, to the bit, where the tool corrects such
masks; as polygons elsewhere (`outlines`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from segpipe.common.errors import UserError
from segpipe.common.files import replaces, target_of

if TYPE_CHECKING:
    from segpipe.common.classes import ClassTable
    from segpipe.predict.labels.tool import Tool

LabelFormat = Literal["coco", "yolo", "labelme", "label-studio", "cvat"]


@contextmanager
def labels_in(folder: Path, tool: LabelFormat | None, table: "ClassTable") -> Iterator["Tool"]:
    """Yield a writer of pictures with their labels; the folder appears once the block succeeds.

    None writes the pictures alone. A link to a folder stays, and its target is written.
    """
    module = import_module(f"{__name__}.{tool.replace('-', '_') if tool else 'tool'}")
    with replaces(target_of(folder)) as partial:
        labels = (module.Labels if tool else module.Tool)(partial, table)
        try:
            yield labels
            labels.finish()
        finally:
            labels.close()


def require_free(folder: Path) -> None:
    """Raise UserError where a folder for labels holds something: it may be somebody's work.

    It is raised too where the folder has no name, so that nothing can be written beside it.
    """
    if folder.name in ("", ".."):
        raise UserError(f"{folder}: no name; give a new folder by its name for -o, such as to_label")
    if folder.is_file() or any(folder.glob("*")):
        raise UserError(
            f"{folder} exists, and may hold corrections; choose another -o, or remove that folder"
        )
