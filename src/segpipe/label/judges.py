"""Models as judges of masks: each judges only pictures that it was not trained on."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segpipe.common import records
from segpipe.common.classes import ClassTable
from segpipe.common.errors import UserError
from segpipe.common.files import sha256
from segpipe.common.index import read_index
from segpipe.common.modelfile import MODEL, read_card
from segpipe.common.raw import RAW
from segpipe.common.records import MANIFEST
from segpipe.common.splits import Split
from segpipe.params.load import read_yaml
from segpipe.predict.predictor import Predictor, load_model
from segpipe.preprocess.splitting import SplitRule
from segpipe.review.folds import CrossValidation, cross_validations
from segpipe.review.revision import NotHere, Revision

RECORDS = Path("data/records")


@dataclass(frozen=True)
class Judge:
    """A model, and the samples of data/raw that it was not trained on: their splits by name."""

    predictor: Predictor
    splits: dict[str, str]


def of_workspace(model: Path, table: ClassTable) -> Judge:
    """Return a model that was trained on data/records, for their samples of validation and test.

    Raises UserError where it was trained on other records, which may have held any of these samples;
    where its classes are not those of `table`; or where the records are not of data/raw as it is.
    """
    manifest = records.open_records(RECORDS)
    if read_card(model)["records"]["manifest_sha256"] != sha256(RECORDS / MANIFEST):
        raise UserError(
            f"{model} was not trained on {RECORDS} as they are, so that it may have learned the masks "
            "that it would judge; run `dvc repro train`"
        )
    if (own := manifest.classes.describe()) != (wanted := table.describe()):
        raise UserError(
            f"{model} knows the classes {own}, and params.yaml has {wanted}: it cannot judge such "
            "masks; run `dvc repro`"
        )
    _require_same_raw()
    splits: tuple[Split, ...] = ("val", "test")
    names = {split: [record["name"] for record in records.read(manifest, split)] for split in splits}
    if manifest.tiles:  # a record of validation is a tile, called by its picture and its place
        names["val"] = [name.rpartition("@")[0] for name in names["val"]]
    return Judge(load_model(model), {name: split for split in names for name in names[split]})


def _require_same_raw() -> None:
    """Raise UserError where, by `dvc.lock`, `fetch` wrote data/raw after `preprocess` read it."""
    lock = Path("dvc.lock")
    content = read_yaml(lock.read_text(encoding="utf-8")) if lock.is_file() else None
    stages = (content or {}).get("stages", {})
    written, read = (
        {file["path"]: file.get("md5") for file in stages.get(stage, {}).get(kind, [])}.get(str(RAW))
        for stage, kind in (("fetch", "outs"), ("preprocess", "deps"))
    )
    if written and read and written != read:
        raise UserError(
            f"{RECORDS} were made from another {RAW} than the one here, whose masks the model may not "
            "know; run `dvc repro`"
        )


def of_folds(scratch: Path) -> Iterator[Judge]:
    """Yield the model of each fold of a cross-validation, for the samples of that fold.

    The first one judges the test pictures too. Models are copied to `scratch`.

    Raises:
        UserError: no cross-validation started from HEAD, or several; or one lacks folds, was trained
            on other data, or lacks a model.
    """
    found = _only(cross_validations())
    here = Revision().locked(RAW)
    for fold, revision in sorted(found.revisions.items()):
        if revision.locked(RAW) != here:
            raise UserError(
                f"fold {fold} was trained on another {RAW} than the one here; run the folds again"
            )
        (folder := scratch / str(fold)).mkdir()
        try:
            model = revision.copy(MODEL.as_posix(), folder)
        except NotHere as reason:
            raise UserError(f"the model of fold {fold} cannot be had: {reason}") from None
        params = revision.params()
        rule = SplitRule(
            params["data.validation_share"], found.folds, fold, params["data.on_near_duplicate"]
        )
        every = rule.assign(read_index(RAW)).splits
        judged = ("val", "test") if fold == 0 else ("val",)
        yield Judge(load_model(model), {name: split for name, split in every.items() if split in judged})


def _only(validations: list[CrossValidation]) -> CrossValidation:
    """Return the only cross-validation. Raises UserError for several, or for missing folds."""
    if len(validations) > 1:
        raise UserError(
            f"{len(validations)} cross-validations started from HEAD; remove the experiments of all but "
            "one with `dvc exp remove NAME` (`segpipe folds` shows them)"
        )
    (only,) = validations
    if missing := only.missing:
        raise UserError(
            f"of {only.folds} folds {', '.join(map(str, missing))} did not run; see `segpipe folds`"
        )
    return only
