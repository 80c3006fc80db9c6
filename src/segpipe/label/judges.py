"""Models as judges of masks: each judges only pictures that it was not trained on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from segpipe.common.errors import UserError
from segpipe.common.files import sha256
from segpipe.common.index import read_index
from segpipe.common.modelfile import read_card
from segpipe.common.records import MANIFEST
from segpipe.params.load import DataParams
from segpipe.predict.predictor import Predictor, load_model
from segpipe.preprocess.cut import Cut
from segpipe.review.folds import CrossValidation, cross_validations
from segpipe.review.revision import NotHere

RAW, RECORDS = Path("data/raw"), Path("data/records")
_LOCK = "dvc.lock"


@dataclass(frozen=True)
class Judge:
    """A model, and the samples of data/raw that it was not trained on: their splits by name."""

    predictor: Predictor
    splits: dict[str, str]


def of_workspace(model: Path, data: DataParams) -> Judge:
    """Return a model that was trained on data/records, for the samples of validation and test.

    Raises UserError where it was trained on other records: they may have held any of these samples.
    """
    records = sha256(RECORDS / MANIFEST) if (RECORDS / MANIFEST).is_file() else "none"
    if read_card(model)["records"]["manifest_sha256"] != records:
        raise UserError(
            f"{model} was not trained on {RECORDS} as they are, so that it may have learned the masks "
            "that it would judge; run `dvc repro train`"
        )
    cut = Cut(data.validation_share, data.folds, data.fold, data.on_near_duplicate)
    return Judge(load_model(model), _held_out(cut, ("val", "test")))


def of_folds(scratch: Path) -> Iterator[Judge]:
    """Yield the model of each fold of a cross-validation, for the samples of that fold.

    The first one judges the test pictures too. Models are copied to `scratch`.

    Raises:
        UserError: no cross-validation started from HEAD, or several, or one lacks folds; its data were
            others; or a model is nowhere to be had.
    """
    found = _only(cross_validations())
    here = _raw_md5(Path(_LOCK).read_text(encoding="utf-8") if Path(_LOCK).is_file() else None)
    for fold, revision in sorted(found.revisions.items()):
        if _raw_md5(revision.text(_LOCK)) != here:
            raise UserError(
                f"fold {fold} was trained on another {RAW} than the one here; run the folds again"
            )
        (folder := scratch / str(fold)).mkdir()
        try:
            model = revision.copy("models/model.keras", folder)
        except NotHere as reason:
            raise UserError(f"the model of fold {fold} cannot be had: {reason}") from None
        params = revision.params()
        cut = Cut(params["data.validation_share"], found.folds, fold, params["data.on_near_duplicate"])
        splits = ("val", "test") if fold == 0 else ("val",)
        yield Judge(load_model(model), _held_out(cut, splits))


def _only(found: list[CrossValidation]) -> CrossValidation:
    """Return the one cross-validation that there is."""
    if len(found) > 1:
        raise UserError(
            f"{len(found)} cross-validations started from HEAD; remove the experiments of all but one "
            "with `dvc exp remove NAME` (`segpipe folds` shows them)"
        )
    if missing := found[0].missing:
        raise UserError(
            f"of {found[0].folds} folds {', '.join(map(str, missing))} did not run; see `segpipe folds`"
        )
    return found[0]


def _held_out(cut: Cut, splits: tuple[str, ...]) -> dict[str, str]:
    every = cut.of(read_index(RAW)).splits
    return {name: split for name, split in every.items() if split in splits}


def _raw_md5(lock: str | None) -> str | None:
    """Return the checksum of data/raw that `preprocess` ran with, from the content of dvc.lock."""
    stages: dict[str, Any] = (yaml.safe_load(lock or "") or {}).get("stages", {})
    deps = stages.get("preprocess", {}).get("deps", [])
    return next((dep["md5"] for dep in deps if dep["path"] == str(RAW)), None)
