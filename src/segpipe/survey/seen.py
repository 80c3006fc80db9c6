"""Which layouts a folder may have, and why it has none."""

from pathlib import Path

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.words import did_you_mean
from segpipe.fetch import layouts
from segpipe.fetch.layouts import unmatched
from segpipe.fetch.sample import Sample


def layouts_in(root: Path, asked: str | None = None, likely: str | None = None) -> dict[str, str]:
    """Return the layouts that a folder may have with the evidence, the one asked for or likeliest first.

    `likely` is the likeliest if it is one of them.

    Where there are several, the evidence has the number of samples. Raises UserError where there is no
    such folder, or nothing in it that any layout has.
    """
    if fault := layouts.not_a_folder(root):
        raise UserError(f"{fault}; give the folder that holds your data")
    if asked is not None and asked not in layouts.LAYOUTS:
        hint = did_you_mean(asked, layouts.LAYOUTS)
        raise UserError(
            f"--layout {asked}: no layout of this name{hint} (there are {', '.join(layouts.LAYOUTS)})"
        )
    found = layouts.layouts_of(root)
    if likely in found:
        found = {likely: found[likely]} | found
    if asked:
        found = {asked: found.get(asked, "as asked")} | found
    if not found:
        raise UserError(unmatched.reason(root))
    if len(found) == 1:
        return found
    return {name: f"{evidence}: {_count(name, root)}" for name, evidence in found.items()}


def refuse_place(root: Path, repository: Path) -> None:
    """Raise UserError where the stages write into a folder of pictures, or its path is no UTF-8."""
    place, here = root.resolve(), repository.resolve()
    if here.is_relative_to(place) or place == here / "data":
        raise UserError(
            f"{root}: the stages write into this folder too, so that DVC cannot watch it; put the "
            "pictures into a folder of their own, such as data/my_data"
        )
    if not str(root).isprintable():
        raise UserError(f"{str(root)!a}: a path that is no printable UTF-8; rename the folder")


def _count(layout: str, root: Path) -> str:
    try:
        found = layouts.open_layout(layout).samples(root, ClassTable(()))
        return f"{sum(isinstance(one, Sample) for one in found)} samples"
    except UserError as error:
        return f"no sample, as {error}"
