"""Commands on the data: what is in a folder, what is in the records."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segpipe.cli import tables

if TYPE_CHECKING:
    from segpipe.common.records import Manifest

_SHOWN = 20
_RECORDS = Path("data/records")


def init_data(
    folder: Annotated[Path, typer.Argument(metavar="PATH", help="Folder with images and masks.")],
    write: Annotated[bool, typer.Option("--write", help="Put it into params.yaml.")] = False,
    layout: Annotated[
        str | None, typer.Option(metavar="NAME", help="Take this layout where several are seen.")
    ] = None,
) -> None:
    """Look at your own images and masks, and propose the section `data` of params.yaml."""
    # Imported here: NumPy and pydantic take half a second.
    from segpipe.common.classes import class_table
    from segpipe.common.files import write_text
    from segpipe.params.file import as_yaml, changed_params
    from segpipe.params.load import PARAMS_FILE, load_params
    from segpipe.plan.shape import Input
    from segpipe.survey import survey
    from segpipe.survey.remarks import remarks
    from segpipe.survey.seen import refuse_place

    refuse_place(folder, Path.cwd())
    params = load_params()
    old = params.data
    again = old.source == "folder" and Path(old.folder.path).resolve() == folder.resolve()
    found = survey(
        folder,
        old.folder.test_share,
        old.validation_share,
        layout=layout,
        likely=old.folder.layout if again else None,
        group=old.folder.group if again else "none",
        before=class_table(old.classes, old.ignore) if again else None,
    )
    now = Input(old.resize, old.image_size, old.tiles.scale)
    _print_found(found, [*remarks(found, params.train.batch_size, now)])
    proposed = {"data": found.data(_path_in_params(folder))}
    if again:
        del proposed["data"]["bands"]  # a choice that only people can make
    elif old.folder.group != "none":
        proposed["data"]["folder"].setdefault("group", "none")
    text = changed_params(PARAMS_FILE, proposed)  # checks it
    print(as_yaml(proposed), end="")
    if write:
        write_text(PARAMS_FILE, text)
        print(f"\nwritten to {PARAMS_FILE}; next: give the classes names, then `dvc repro`")
    else:
        asked = shlex.quote(str(folder)) + (f" --layout {layout}" if layout else "")
        print(f"\nto put this into {PARAMS_FILE}: segpipe init-data {asked} --write")


def _path_in_params(folder: Path) -> str:
    """Return a path that works in every clone: relative if the folder is inside this one."""
    absolute, here = Path(os.path.abspath(folder)), Path.cwd()  # noqa: PTH100  keeps links
    return (absolute.relative_to(here) if absolute.is_relative_to(here) else absolute).as_posix()


def _print_found(found: Any, remarks: list[str]) -> None:
    from segpipe.common.duplicates import report

    splits = ", ".join(f"{count} {split}" for split, count in found.splits.items())
    layouts = (f"{layout} ({evidence})" for layout, evidence in found.layouts.items())
    print("layout:  " + "\n         or ".join(layouts))
    if len(found.layouts) > 1:
        print(f"         taken: {found.layout}; another: --layout NAME")
    print(f"samples: {splits}")
    print(f"images:  {_sizes([one.size for one in found.stats])}")
    print(f"masks:   {found.proposal.kind}")
    if found.names.file:
        print(f"names:   from {found.names.file}")
    tables.show(_values(found.proposal))
    _print_some(f"{len(found.problems)} bad samples, which fetch will not take:", found.problems)
    if found.near:
        print(report(found.near))
    for remark in remarks:
        print(f"note: {remark}")
    print()


def _print_some(heading: str, lines: list[Any]) -> None:
    if lines:
        print(heading, *lines[:_SHOWN], sep="\n  ")
        if len(lines) > _SHOWN:
            print(f"  ... and {len(lines) - _SHOWN} more")


def _sizes(sizes: list[tuple[int, int]]) -> str:
    """Return smallest, median and largest by area, as width x height, which file managers show."""
    from segpipe.common.words import width_by_height

    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    named = [width_by_height(size) for size in ordered]
    low, middle, high = named[0], named[len(named) // 2], named[-1]
    if low == high:
        return f"{low} px"
    return f"{low} px the smallest, {middle} the median, {high} the largest"


def _values(proposal: Any) -> Any:
    """Return a table of the masks' values: their classes, pixels, and how many masks hold them."""
    table = tables.table("", "value", "class", "pixels", "masks")
    rows = [(value, c.name) for c in proposal.table.classes for value in c.values]
    for value, name in [*rows, *((value, "(ignored)") for value in proposal.table.ignore)]:
        seen = proposal.found.get(value)
        share = f"{100 * seen.share:.4g} %" if seen else "none seen"
        table.add_row(str(value), name, share, str(seen.masks if seen else 0))
    return table


def data(
    records: Annotated[Path, typer.Argument(help="Folder that preprocess wrote.")] = _RECORDS,
) -> None:
    """Show what is in the records: splits, shares and weights of the classes, what was left out."""
    from segpipe.common.bands import in_words
    from segpipe.common.duplicates import report
    from segpipe.common.records import read_manifest, without_pixels
    from segpipe.params.load import load_params
    from segpipe.train.class_weights import class_weights
    from segpipe.train.samples import bytes_needed

    manifest = read_manifest(records)
    weighting = load_params().train.class_weights
    print(f"source:  {manifest.source}")
    print(f"size:    {_seen(manifest)}")
    print(f"bands:   {in_words(manifest.bands, manifest.intensity)}")
    print(f"val:     {manifest.validation}")
    print(
        f"memory:  {bytes_needed(manifest) / 1e6:,.0f} MB of training and validation samples with "
        "train.in_memory: true"
    )
    counted = ["pictures", "records"] if manifest.tiles else ["samples"]
    splits = tables.table("Splits", "split", *counted, "groups", "pixels ignored")
    for name, split in manifest.splits.items():
        ignored = f"{100 * split['ignored_share']:.4g} %"
        pictures = [str(split["pictures"])] if manifest.tiles else []
        splits.add_row(name, *pictures, str(split["samples"]), str(split["groups"]), ignored)
    shares = [f"% of {name}" for name in manifest.splits]
    classes = tables.table("Classes", "class", "value", *shares, "weight")
    weights = class_weights(weighting, manifest) or [1.0] * len(manifest.classes)
    for row, weight in zip(manifest.classes.classes, weights, strict=True):
        shares = [f"{100 * split['class_shares'][row.name]:.4g}" for split in manifest.splits.values()]
        classes.add_row(row.name, str(row.value), *shares, f"{weight:.4g}")
    tables.show(splits, classes)
    if isinstance(weighting, str):
        print(f"weights: train.class_weights = {weighting}")
    for name in without_pixels(manifest.splits["train"]):
        print(f"class {name} has no pixel in the training split: nothing will learn it")
    for said in manifest.cut:
        print(said)
    if near := manifest.near_duplicates:
        print(report(near))
    lines = [left["problem"] for left in manifest.left_out]
    _print_some(f"{len(lines)} samples were left out:", lines)


def _seen(manifest: "Manifest") -> str:
    """Say how pictures come to the network's size."""
    from segpipe.common.words import extent

    size = extent(manifest.size)
    if not manifest.tiles:
        return f"{size}, {manifest.resize}"
    piece = extent(manifest.shape("train")[:2])
    return f"tiles of {size} at scale {manifest.tiles.scale:g}, training pieces of {piece}"
