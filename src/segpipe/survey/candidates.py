"""The layouts that a folder may have, and why it has none."""

from pathlib import Path

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.words import did_you_mean
from segpipe.fetch import layouts
from segpipe.fetch.layouts import unmatched
from segpipe.fetch.sample import Sample


def layouts_in(root: Path, asked: str | None = None, likely: str | None = None) -> dict[str, str]:
    """Return the layouts that a folder may have, each with its evidence.

    The one `asked` for is first, else the `likely` one if it is among them, else the likeliest. Where
    there are several, the evidence has the number of samples. Raises UserError where there is no such
    folder, or no layout fits it.
    """
    if fault := layouts.not_a_folder(root):
        raise UserError(f"{fault}; give the folder that holds your data")
    if asked is not None and asked not in layouts.LAYOUTS:
        hint = did_you_mean(asked, layouts.LAYOUTS)
        raise UserError(
            f"--layout {asked}: no layout of this name{hint} (there are {', '.join(layouts.LAYOUTS)})"
        )
    evidence = layouts.layouts_of(root)
    if likely in evidence:
        evidence = {likely: evidence[likely]} | evidence
    if asked:
        evidence = {asked: evidence.get(asked, "as asked")} | evidence
    if not evidence:
        raise UserError(unmatched.reason(root))
    if len(evidence) == 1:
        return evidence
    return {name: f"{words}: {_count(name, root)}" for name, words in evidence.items()}


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
        entries = layouts.open_layout(layout).samples(root, ClassTable(()))
        return f"{sum(isinstance(entry, Sample) for entry in entries)} samples"
    except UserError as error:
        return f"no sample, as {error}"
