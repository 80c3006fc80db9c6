"""Commands on the data: what is in a folder, what is in the records."""

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from segpipe.cli import tables
from segpipe.common.words import extent, listed

if TYPE_CHECKING:
    from segpipe.common.records import Manifest

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
    from segpipe.survey.candidates import refuse_place
    from segpipe.survey.folder import Request, survey
    from segpipe.survey.remarks import remarks

    refuse_place(folder, Path.cwd())
    params = load_params()
    old = params.data
    again = old.source == "folder" and Path(old.folder.path).resolve() == folder.resolve()
    request = Request(old.folder.test_share, old.validation_share, layout)
    if again:
        before = class_table(old.classes, old.ignore)
        request = replace(request, likely=old.folder.layout, group=old.folder.group, before=before)
    surveyed = survey(folder, request)
    now = Input(old.resize, old.image_size, old.tiles.scale)
    _print_survey(surveyed, [*remarks(surveyed, params.train.batch_size, now)])
    proposed = {"data": surveyed.data(_path_in_params(folder))}
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
        arguments = shlex.quote(str(folder)) + (f" --layout {layout}" if layout else "")
        print(f"\nto put this into {PARAMS_FILE}: segpipe init-data {arguments} --write")


def _path_in_params(folder: Path) -> str:
    """Return a path that works in every clone: relative if the folder lies in this one."""
    absolute, here = Path(os.path.abspath(folder)), Path.cwd()  # noqa: PTH100  keeps links
    return (absolute.relative_to(here) if absolute.is_relative_to(here) else absolute).as_posix()


def _print_survey(survey: Any, remarks: list[str]) -> None:
    from segpipe.common.duplicates import report

    splits = ", ".join(f"{count} {split}" for split, count in survey.splits.items())
    layouts = (f"{layout} ({evidence})" for layout, evidence in survey.layouts.items())
    print("layout:  " + "\n         or ".join(layouts))
    if len(survey.layouts) > 1:
        print(f"         taken: {survey.layout}; another: --layout NAME")
    print(f"samples: {splits}")
    print(f"images:  {_sizes([row.size for row in survey.stats])}")
    print(f"masks:   {survey.proposal.kind}")
    if survey.names.file:
        print(f"names:   from {survey.names.file}")
    tables.show(_values(survey.proposal))
    if problems := survey.problems:
        print(listed(f"{len(problems)} bad samples, which fetch will not take:", problems))
    if survey.near:
        print(report(survey.near))
    for remark in remarks:
        print(f"note: {remark}")
    print()


def _sizes(sizes: list[tuple[int, int]]) -> str:
    """Return the smallest, median and largest size by area, as width x height as in file managers."""
    from segpipe.common.words import width_by_height

    ordered = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    texts = [width_by_height(size) for size in ordered]
    low, middle, high = texts[0], texts[len(texts) // 2], texts[-1]
    if low == high:
        return f"{low} px"
    return f"{low} px the smallest, {middle} the median, {high} the largest"


def _values(proposal: Any) -> Any:
    """Return a table of the masks' values: class, share of pixels, and how many masks hold them."""
    table = tables.table("", "value", "class", "pixels", "masks")
    rows = [(value, c.name) for c in proposal.table.classes for value in c.values]
    for value, name in [*rows, *((value, "(ignored)") for value in proposal.table.ignore)]:
        seen = proposal.occurrences.get(value)
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
    print(f"size:    {_size(manifest)}")
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
    for note in manifest.cut:
        print(note)
    if near := manifest.near_duplicates:
        print(report(near))
    if problems := [sample["problem"] for sample in manifest.left_out]:
        print(listed(f"{len(problems)} samples were left out:", problems))


def _size(manifest: "Manifest") -> str:
    """Return how pictures get the network's size."""
    size = extent(manifest.size)
    if not manifest.tiles:
        return f"{size}, {manifest.resize}"
    piece = extent(manifest.shape("train")[:2])
    return f"tiles of {size} at scale {manifest.tiles.scale:g}, training pieces of {piece}"
