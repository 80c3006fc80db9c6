"""A look at a folder of images and masks, and the `data` section of `params.yaml` that fits it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from rich.progress import track

from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.files import first_by_hash, name_hash
from segpipe.common.parallel import ordered_map
from segpipe.fetch import layouts
from segpipe.fetch.layouts.matching import is_image, split_by_hash
from segpipe.fetch.params import FolderParams
from segpipe.fetch.sample import Problem, Sample
from segpipe.survey.labels import coco_table, labelme_table
from segpipe.survey.looks import Look, look_at
from segpipe.survey.names import Names, find_names
from segpipe.survey.proposal import Proposal, propose, share_out

LOOKED_AT = 500
"""Samples that are decoded where there are more: chosen by hash of the name."""


@dataclass(frozen=True)
class Survey:
    """What a folder holds, and what `params.yaml` should say of it."""

    layouts: dict[str, str]
    """What the folder may be, the likeliest first, each with what speaks for it."""
    samples: list[Sample]
    looks: list[Look]
    problems: list[Problem]
    names: Names | None
    proposal: Proposal
    test_share: float
    validation_share: float

    @property
    def layout(self) -> str:
        """The likeliest layout."""
        return next(iter(self.layouts))

    def splits(self) -> dict[str, int]:
        """How many samples the proposal gives to train, val and test."""
        counts = {"train": 0, "val": 0, "test": 0}
        for sample in self.samples:
            held_out = _hash(sample, "val") < self.validation_share
            counts["test" if sample.split == "test" else "val" if held_out else "train"] += 1
        return counts

    def data(self, path: str) -> dict:
        """What it proposes of the section `data`, which is to name the folder as `path`."""
        return {
            "source": "folder",
            "folder": {"path": path, "layout": self.layout, "test_share": self.test_share},
            **self.proposal.table.to_json(),
            "validation_share": self.validation_share,
        }


def survey(
    root: Path, test_share: float, validation_share: float, processes: int | None = None
) -> Survey:
    """Look at a folder.

    Args:
        root: the folder.
        test_share: share of names to hold out where the layout does not say which, 0..1.
        validation_share: share of the training names to hold out, 0..1. Both shares change where they
            would hold out none or all.
        processes: how many worker processes decode; None for one a core.

    Raises:
        UserError: there is no such folder, no layout fits it, or no class table fits its masks.
    """
    candidates = _layouts(root)
    layout = next(iter(candidates))
    names = find_names(root)
    drawn = layout in ("coco", "labelme")
    labels = ClassTable(())
    if drawn:
        labels = coco_table(root) if layout == "coco" else labelme_table(root, names)
    found = _found(root, layout, test_share, labels)
    first = [item for item in found if isinstance(item, Sample)]
    if all(s.split == split_by_hash(s.group or s.name, test_share) for s in first):
        test_share = holding_out((_hash(s, "test") for s in first), test_share)
        found = _found(root, layout, test_share, labels)
    samples = [item for item in found if isinstance(item, Sample)]
    validation_share = holding_out(
        (_hash(s, "val") for s in samples if s.split == "train"), validation_share
    )
    problems = [item for item in found if isinstance(item, Problem)]
    looks, bad = _look(samples, processes)
    problems += bad
    if not looks:
        raise UserError(
            f"{root}: no sample can be read, as {problems[0] if problems else 'there is none'}"
        )
    proposal = share_out(looks, labels) if drawn else propose(looks, names, len(samples) <= LOOKED_AT)
    return Survey(candidates, samples, looks, problems, names, proposal, test_share, validation_share)


def holding_out(hashes: Iterable[float], share: float) -> float:
    """The share, or one like it that holds out some of the hashes and not all."""
    ordered = sorted({*hashes})
    held = sum(value < share for value in ordered)
    if len(ordered) < 2 or 0 < held < len(ordered):
        return share
    wanted = min(max(1, round(share * len(ordered))), len(ordered) - 1)
    low, high = ordered[wanted - 1], ordered[wanted]
    middles = (round((low + high) / 2, digits) for digits in range(2, 16))
    return next(middle for middle in middles if low < middle <= high)


def _layouts(root: Path) -> dict[str, str]:
    if not root.is_dir():
        raise UserError(f"{root}: there is no such folder")
    if found := layouts.layouts_of(root):
        return found
    images = [path for path in root.rglob("*") if is_image(path)]
    known = ", ".join(get_args(FolderParams.model_fields["layout"].annotation))
    if not images:
        raise UserError(
            f"{root}: holds no image; expected one of the layouts {known} (docs/own-data.md)"
        )
    folders = sorted({path.parent.relative_to(root).as_posix() for path in images})
    where = ", ".join(folders[:5]) + (
        f" and {len(folders) - 5} more folders" if len(folders) > 5 else ""
    )
    raise UserError(
        f"{root}: {len(images)} images (in {where}), and no masks that go with them; put masks of equal "
        f"stems into masks/ and images into images/, or see docs/own-data.md for the layouts {known}"
    )


def _found(root: Path, layout: str, test_share: float, labels: ClassTable) -> list[Sample | Problem]:
    params = FolderParams.model_validate({"path": str(root), "layout": layout, "test_share": test_share})
    return [*layouts.samples(params, labels)]


def _look(samples: Sequence[Sample], processes: int | None) -> tuple[list[Look], list[Problem]]:
    chosen = first_by_hash(samples, LOOKED_AT, "survey", lambda sample: sample.name)
    results = track(ordered_map(look_at, chosen, processes), "Looking at samples", total=len(chosen))
    looks, problems = [], []
    for result in results:
        if isinstance(result, Problem):
            problems.append(result)
        else:
            looks.append(result)
    return looks, problems


def _hash(sample: Sample, purpose: str) -> float:
    return name_hash(sample.group or sample.name, purpose)
