"""Whether DVC tracks a folder as it is, so that masks that are replaced in it can be restored."""

import os
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.repo import Repo

from segpipe.common.errors import UserError, brief


def require_tracked(folder: Path) -> Path:
    """Return the path that `dvc add` tracks: the folder, or one above it.

    Raises UserError where none is tracked, or it changed since.
    """
    here = Path(os.path.relpath(folder))
    added = [path for path in (here, *here.parents) if path.name and Path(f"{path}.dvc").is_file()]
    if not added:
        raise UserError(
            f"{folder} is not kept by DVC, so that its masks would be lost; move it into the "
            f"repository, say to data/{folder.name}, and `dvc add` it first (docs/own-data.md)"
        )
    try:
        changed = Repo().status(targets=[f"{added[0]}.dvc"])
    except DvcException as error:
        raise UserError(f"DVC cannot tell whether {added[0]} changed ({brief(error)})") from None
    if changed:
        raise UserError(
            f"{added[0]} changed since it was added to DVC, so that masks would be lost; "
            f"`dvc add {added[0]}` keeps the change, `dvc checkout {added[0]}` takes it back"
        )
    return added[0]
