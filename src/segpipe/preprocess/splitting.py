"""The split of the records that each sample of `data/raw` is in."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from segpipe.common.duplicates import Lookalikes, Near, OnNear, report
from segpipe.common.errors import UserError
from segpipe.common.files import name_hash
from segpipe.common.index import Entry
from segpipe.common.splits import Split
from segpipe.preprocess.params import PreprocessParams

_GIVEN = "the split that the data name; data.validation_share is not used"


@dataclass(frozen=True)
class SplitRule:
    """How validation is taken from the training split, where the data have none. No group is parted."""

    share: float  # of the training split, by hash of the group
    folds: int = 1  # above 1, validation is the fold of this number, and `share` is not used
    fold: int = 0
    on_near: OnNear = "warn"

    @classmethod
    def of_params(cls, params: PreprocessParams, on_near: OnNear) -> "SplitRule":
        """Return the rule of `data.validation_share`, `data.folds` and `data.fold`."""
        return cls(params.validation_share, params.folds, params.fold, on_near)

    @property
    def params_in_words(self) -> str:
        """The params that decide, for people."""
        if self.folds > 1:
            return f"data.fold = {self.fold} of data.folds = {self.folds}"
        return f"data.validation_share = {self.share}"

    def assign(self, index: Sequence[Entry]) -> "Assignment":
        """Return the split of each sample.

        Raises UserError where the data do not allow the folds, or near duplicates are errors.
        """
        splits: dict[str, Split] = {entry.name: entry.split for entry in index}  # type: ignore[misc]
        if "val" in splits.values():
            if self.folds > 1:
                raise UserError(
                    f"data.folds = {self.folds}: the data name a validation split of their own, so that "
                    "there is nothing to part; set data.folds to 1, or take that split out of the data"
                )
            return Assignment(index, splits, _GIVEN, given=True)
        training = [entry for entry in index if entry.split == "train"]
        if self.folds > 1:
            held_out, how = self._deal_fold(training), f"fold {self.fold} of {self.folds}"
        else:
            held_out = {entry.name for entry in training if name_hash(entry.key, "val") < self.share}
            how = f"{self.share:.4g}"
        splits |= dict.fromkeys(held_out, "val")
        near = _near(training, held_out)
        if near and self.on_near == "error":
            raise UserError(report(near))
        left_out = near if self.on_near == "skip" else []
        for lookalike in left_out:
            del splits[lookalike.picture]
        by = "group" if any(entry.group for entry in training) else "name"
        how = f"{how} of the training split, by hash of the {by}"
        return Assignment(index, splits, how, False, tuple(near), tuple(left_out))

    def why_empty(self, split: str, assignment: "Assignment") -> str:
        """Say why a split has no sample, and what to do."""
        total = sum(name != "test" for name in assignment.splits.values())
        dropped = len(assignment.left_out)
        more = f" ({dropped} near duplicates are left out)" if dropped else ""
        return (
            f"the {split} split is empty: {self.params_in_words} of {total} training samples{more}, "
            "by hash of the name or group; change it or add samples"
        )

    def _deal_fold(self, training: Sequence[Entry]) -> set[str]:
        """Return the names of the samples in the fold.

        Groups are dealt in order of their hash, each to the fold with the fewest samples so far.
        """
        sizes = Counter(entry.key for entry in training)
        if len(sizes) < self.folds:
            raise UserError(
                f"data.folds = {self.folds}: each fold needs a group, and the training split has "
                f"{len(sizes)}; lower data.folds"
            )
        counts, fold_of = [0] * self.folds, {}
        for key in sorted(sizes, key=lambda key: name_hash(key, "fold")):
            fold_of[key] = counts.index(min(counts))
            counts[fold_of[key]] += sizes[key]
        return {entry.name for entry in training if fold_of[entry.key] == self.fold}


@dataclass(frozen=True)
class Assignment:
    """The split of each sample that is not left out."""

    index: Sequence[Entry]
    splits: dict[str, Split]  # by name
    validation: str  # what the validation split is, for people
    given: bool  # whether the data name the validation split
    near: tuple[Near, ...] = ()  # training samples that look like one of validation
    left_out: tuple[Near, ...] = ()  # those of `near` that are in no split

    def groups(self, split: Split) -> int:
        """Return how many groups a split has; a sample without one is a group of its own."""
        return len({entry.key for entry in self.index if self.splits.get(entry.name) == split})


def _near(training: Sequence[Entry], held_out: set[str]) -> list[Near]:
    lookalikes = Lookalikes()
    validation_first = sorted(training, key=lambda entry: entry.name not in held_out)
    twins = (
        lookalikes.twin(entry.name, "val" if entry.name in held_out else "train", entry.hash)
        for entry in validation_first
    )
    return [near for near in twins if near]
