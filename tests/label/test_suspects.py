"""`segpipe suspects`: wrong masks come first, and no model judges what it was trained on."""

import json
import subprocess

import keras
import numpy as np
import pandas as pd
import pytest
import yaml
from drawn_colours import SIZE, Drawn
from helpers import PETS, ROOT, commit, interrupt_once, make_repository, set_params

from segpipe.common.files import sha256
from segpipe.common.index import read_index
from segpipe.common.modelfile import CARD_FORMAT
from segpipe.common.records import Tiles
from segpipe.fetch.raw import write_raw
from segpipe.fetch.sample import Sample
from segpipe.label.suspects import table
from segpipe.preprocess.record_maker import RecordFormat
from segpipe.preprocess.splitting import SplitRule
from segpipe.preprocess.write import write_records
from segpipe.train.saving import save_model


def of_colours(*classes):
    """A network that sees these classes in red, green and blue, and is sure of it."""
    image = keras.Input((*SIZE, 3), dtype="uint8")
    logits = keras.layers.Conv2D(3, 1, use_bias=False)(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, logits, name="unet")
    kernel = np.zeros((1, 1, 3, 3), np.float32)
    kernel[0, 0, range(3), classes] = 8
    model.layers[-1].set_weights([kernel])
    return model


def card(how="stretch", **more):
    """The card of a model for these pictures."""
    made = {"format": CARD_FORMAT, "segpipe": "0.0.9", "libraries": {"keras": "3.0.0"}}
    return {**made, "image_size": SIZE, "resize": how, **PETS.to_json(), **more}


def write_data(folder, wrong, pictures=4):
    """Write data/raw: 12 training and 4 test pictures; the masks of these names are wrong."""
    tested = {f"test-{n}": "test" for n in range(pictures)}
    splits = {f"train-{n}": "train" for n in range(12)} | tested
    found = [
        Sample(name, split, name, name, Drawn(left, name in wrong))
        for left, (name, split) in enumerate(sorted(splits.items(), key=lambda one: one[1]))
    ]
    write_raw("a test", iter(found), PETS, False, 100, folder / "data/raw", 1)


def write_model(folder, how="stretch", classes=(0, 1, 2)):
    """Write data/records, and a model that was trained on them."""
    tiles = Tiles(1.0) if how == "tiles" else None
    records = folder / "data/records"
    format_ = RecordFormat(SIZE, how, tiles=tiles)
    write_records(folder / "data/raw", PETS, format_, SplitRule(0.25), 100, records)
    trained = {"records": {"manifest_sha256": sha256(records / "manifest.json")}}
    trained |= {"tiles": {"scale": 1.0}} if tiles else {}
    (folder / "models").mkdir(exist_ok=True)
    save_model(of_colours(*classes), folder / "models/model.keras", card(how, **trained))


@pytest.fixture
def project(tmp_path, monkeypatch):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    set_params(tmp_path, {"data.validation_share": 0.25})
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def suspects(segpipe):
    """Run the command: its exit code, and all that it printed."""

    def command(*arguments):
        code, *printed = segpipe("suspects", *arguments)
        return code, "".join(printed)

    return command


def held_out(folder):
    return SplitRule(0.25).assign(read_index(folder / "data/raw")).splits


@pytest.mark.parametrize("how", ["stretch", "tiles"])
def test_a_wrong_mask_comes_first_with_its_region_and_those_of_training_are_not_judged(
    project, suspects, how
):
    write_data(project, wrong=())
    validation = sorted(name for name, split in held_out(project).items() if split == "val")
    trained = next(name for name, split in held_out(project).items() if split == "train")
    write_data(project, wrong={"test-1", validation[0], trained})
    write_model(project, how)
    code, printed = suspects("-n", "3")
    assert code == 0, printed
    assert (
        f"{4 + len(validation)} masks of test and val judged; the model learned those of training, so "
        "that it cannot judge them; after a cross-validation, segpipe suspects --folds can\n"
    ) in printed
    rows = pd.read_csv("results/suspects.csv")
    assert sorted(rows.name) == sorted([f"test-{n}" for n in range(4)] + validation)
    assert set(rows.name[:2]) == {"test-1", validation[0]}
    assert rows.overlap.is_monotonic_increasing
    assert set(rows.weakest[:2]) <= {"pet", "background"}
    for row in rows[:2].itertuples():
        assert (row.labelled, row.predicted, row.regions) == ("pet", "background", 1)
        assert (row.top, row.left, row.height, row.width) == (20, 44, 10, 16)
        assert row.share == pytest.approx(160 / (48 * 64), abs=1e-6)
    assert rows.regions[2:].eq(0).all()
    assert rows.quality[2:].min() > 0.5 > rows.quality[:2].max()
    page = (project / "results/suspects/index.html").read_text()
    assert page.count("<figure") == 3 + 2, "two have a region"
    assert "The mask says pet, the model background" in page


def test_a_model_of_other_records_does_not_judge(project, suspects):
    write_data(project, wrong=())
    write_model(project)
    manifest = project / "data/records/manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"source": "another"}))
    code, printed = suspects()
    assert code == 1
    assert printed.startswith("error: models/model.keras was not trained on data/records as they are")
    assert not (project / "results/suspects.csv").exists()


def test_a_model_of_other_classes_than_the_masks_does_not_judge(project, suspects):
    """`data.classes` is edited, and `fetch` alone ran again: pets have index 1 in data/raw, not 0."""
    write_data(project, wrong=())
    write_model(project)
    pet, background, border = PETS.to_json()["classes"]
    set_params(project, {"data.classes": [background, pet, border]})
    assert suspects() == (
        1,
        "error: models/model.keras knows the classes 1 = pet, 2 = background, 3 = border, and "
        "params.yaml has 2 = background, 1 = pet, 3 = border: it cannot judge such "
        "masks; run `dvc repro`\n",
    )


@pytest.mark.parametrize(("fetched", "code"), [("a.dir", 0), ("b.dir", 1)])
def test_masks_that_were_fetched_anew_are_not_judged_before_preprocess_ran(
    project, suspects, fetched, code
):
    write_data(project, wrong=())
    write_model(project)
    stages = {
        "fetch": {"outs": [{"path": "data/raw", "md5": fetched}]},
        "preprocess": {"deps": [{"path": "data/raw", "md5": "a.dir"}]},
    }
    (project / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": stages}))
    found, printed = suspects()
    assert (found, "data/records were made from another data/raw" in printed) == (code, code == 1)


def test_a_changed_param_lets_no_model_judge_what_it_learned(project, suspects):
    write_data(project, wrong=())
    write_model(project)
    set_params(project, {"data.validation_share": 0.9})
    assert suspects()[0] == 0
    held = {name for name, split in held_out(project).items() if split != "train"}
    assert {*pd.read_csv("results/suspects.csv").name} == held


@pytest.mark.slow
def test_pictures_that_are_gone_since_are_said(project, suspects):
    write_data(project, wrong=())
    write_model(project)
    write_data(project, wrong=(), pictures=2)
    code, printed = suspects()
    assert code == 1
    assert "such as test-2; run `dvc repro`" in printed
    assert not (project / "results/suspects.csv").exists()


def test_without_a_suspect_the_table_has_its_columns_alone():
    """As where every mask is ignored as a whole."""
    assert table([]).to_csv(index=False) == (
        "name,split,overlap,weakest,quality,regions,labelled,predicted,share,sureness,"
        "top,left,height,width\n"
    )


def test_a_folder_of_something_else_is_not_replaced(project, suspects):
    (project / "mine").mkdir()
    (project / "mine/notes.txt").write_text("keep")
    code, printed = suspects("--out", "mine")
    assert (code, printed[:11]) == (1, "error: mine")
    assert (project / "mine/notes.txt").read_text() == "keep"


def test_a_table_of_something_else_is_not_overwritten_and_one_of_suspects_is(project, suspects):
    write_data(project, wrong=())
    write_model(project)
    (project / "mine.csv").write_text("MY TABLE\n")
    code, printed = suspects("--out", "mine")
    assert (code, printed[:15]) == (1, "error: mine.csv")
    assert (project / "mine.csv").read_text() == "MY TABLE\n"
    (project / "mine.csv").unlink()
    assert suspects("--out", "mine")[0] == suspects("--out", "mine")[0] == 0
    assert "all are in mine.csv" in (project / "mine/suspects.md").read_text()


@pytest.mark.slow
def test_ctrl_c_while_the_page_is_drawn_leaves_nothing_and_the_same_command_works(project, suspects):
    write_data(project, wrong={f"test-{n}" for n in range(30)}, pictures=30)
    write_model(project)
    stopped = interrupt_once(project / "results/.suspects.partial", project, "segpipe", "suspects")
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr + stopped.stdout
    assert [*(project / "results").iterdir()] == []
    assert suspects()[0] == 0


STAGE = """
import json, pathlib, shutil, yaml

fold = yaml.safe_load(open("params.yaml"))["data"]["fold"]
for path in ("models", "results/train", "results/evaluate"):
    pathlib.Path(path).mkdir(parents=True, exist_ok=True)
shutil.copy(f"fold-{fold}.keras", "models/model.keras")
for path in ("results/train/summary.json", "results/evaluate/metrics.json"):
    pathlib.Path(path).write_text(json.dumps({"fold": fold}))
"""
PIPELINE = """
stages:
  preprocess:
    cmd: python -c "open('records', 'w').close()"
    deps: [data/raw]
    outs: [records]
  train:
    cmd: python stage.py
    deps: [records]
    params: [data.folds, data.fold]
    outs: [models/model.keras]
    metrics:
    - results/train/summary.json: {cache: false}
    - results/evaluate/metrics.json: {cache: false}
"""


@pytest.mark.slow
def test_with_folds_each_training_mask_is_judged_by_the_model_that_did_not_learn_it(project, suspects):
    write_data(project, wrong=())
    # That of fold 1 takes pets for background, so that it finds every mask wrong.
    for fold, classes in enumerate([(0, 1, 2), (1, 0, 2)]):
        save_model(of_colours(*classes), project / f"fold-{fold}.keras", card())
    (project / "stage.py").write_text(STAGE)
    (project / "dvc.yaml").write_text(PIPELINE)
    (project / ".gitignore").write_text("/data\n/records\n/models/model.keras\n")
    make_repository(project)
    subprocess.run(["dvc", "init", "-q"], cwd=project, check=True)
    commit(project)
    for fold in (0, 1):
        changes = ["-S", "data.folds=2", "-S", f"data.fold={fold}"]
        subprocess.run(["dvc", "exp", "run", "-q", *changes], cwd=project, check=True)
        if fold == 0:
            assert suspects("--folds") == (1, "error: of 2 folds 1 did not run; see `segpipe folds`\n")
    code, printed = suspects("--folds")
    assert code == 0, printed
    assert "16 masks judged by the models of 2 folds, none of its own training" in printed
    wrong = pd.read_csv("results/suspects.csv").query("quality < 0.5")
    of_fold_1 = SplitRule(0.25, 2, 1).assign(read_index(project / "data/raw")).splits
    assert sorted(wrong.name) == sorted(name for name, split in of_fold_1.items() if split == "val")
