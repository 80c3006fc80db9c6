"""What users get wrong, through the true entry points: one clear line, no traceback, nothing lost."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tifffile
from helpers import environment, error_line, make_project, run, run_stage, set_params
from PIL import Image

from segpipe.common.errors import ParamsError
from segpipe.params.load import load_params


def slow(*values):
    """Mark a case that another one like it stands for in `make test`."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.fixture
def project(finished_project, tmp_path):
    """A finished project, to be spoiled."""
    shutil.copytree(finished_project, tmp_path / "project", symlinks=True)
    return tmp_path / "project"


@pytest.fixture
def folder_project(pairs, tmp_path):
    """A project on the user's own folder, nothing run yet."""
    return make_project(
        tmp_path / "project", **{"data.source": "folder", "data.folder.path": str(pairs)}
    )


def leftovers(project):
    """What half-finished work would leave."""
    return [path for path in project.rglob(".*.partial*") if ".dvc" not in path.parts]


def test_an_unknown_source_exits_with_2_and_lists_the_sources(project):
    set_params(project, {"data.source": "imagenet"})
    result = run_stage("fetch", project)
    assert result.returncode == 2
    assert "data.source = 'imagenet': input should be 'oxford_iiit_pet', 'tfds'" in error_line(result)


def test_an_image_size_of_100_exits_with_2_and_the_records_stay(project):
    set_params(project, {"data.image_size": 100})
    result = run_stage("preprocess", project)
    assert result.returncode == 2
    assert error_line(result).endswith("data.image_size = 100: input should be a multiple of 32\n")
    assert (project / "data/records/manifest.json").is_file()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (
            {"data.bands": [1, 9]},
            "3 bands in the file; expected 9 at least, since data.bands names band 9",
        ),
        ({"data.folder.group": r"(seq\d+)_"}, "it gives no picture a group"),
    ],
)
def test_bands_and_groups_that_do_not_fit_are_refused_and_nothing_is_written(
    folder_project, params, words
):
    set_params(folder_project, params)
    assert words in error_line(run_stage("fetch", folder_project))
    assert not (folder_project / "data/raw").exists()


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"data.bands": [0]}, "data.bands"),
        ({"data.intensity": [5, 5]}, "data.intensity"),
        (
            {"data.bands": [1], "data.intensity": [[0, 9], [0, 9]]},
            "intensity has 2 ranges, but the network sees 1",
        ),
        ({"data.folder.group": "seq"}, "0 groups in brackets; one is needed"),
        ({"data.folds": 3, "data.fold": 3}, "data.fold"),
        ({"data.ignore": [[1, 2]]}, "data.ignore"),
        ({"data.ignore": [2]}, "the value 2 stands twice in classes and ignore"),
    ],
)
def test_ranges_folds_and_values_that_cannot_be_are_refused_by_key(folder_project, params, words):
    set_params(folder_project, params)
    with pytest.raises(ParamsError, match=re.escape(words)):
        load_params(folder_project / "params.yaml")


def test_tiffs_that_are_cut_short_or_hold_nothing_or_other_bands_are_each_named(folder_project, pairs):
    first, second, third, *_ = sorted((pairs / "images").iterdir())
    for path, bands, value in ((first, 3, 1.0), (second, 3, np.nan), (third, 4, 1.0)):
        path.unlink()
        pixels = np.full((30, 40, bands), value, np.float32)
        tifffile.imwrite(
            path.with_suffix(".tif"), pixels, photometric="minisblack", planarconfig="contig"
        )
    cut = first.with_suffix(".tif")
    cut.write_bytes(cut.read_bytes()[:-2000])
    set_params(folder_project, {"data.bands": [1, 2, 3]})
    said = error_line(run_stage("fetch", folder_project))
    assert f"{first.stem}.tif: a TIFF cut short (" in said
    assert f"{second.stem}.tif: a picture of NaN or no data alone" in said
    assert f"{third.stem}.tif: a picture with 4 bands; expected 3, the number in images/" in said
    assert said.count("photo") == 4, "of the other pictures nothing but the one that has other bands"


def test_a_zip_in_place_of_a_folder_is_to_be_unpacked(folder_project, pairs, tmp_path):
    shutil.make_archive(str(tmp_path / "packed"), "zip", pairs)
    set_params(folder_project, {"data.folder.path": str(tmp_path / "packed.zip")})
    for ended in (
        run_stage("fetch", folder_project),
        run("segpipe", "init-data", str(tmp_path / "packed.zip"), cwd=folder_project),
    ):
        assert "packed.zip is an archive, which you unpack first" in error_line(ended)


def test_a_missing_folder_is_named_by_the_stage_and_by_dvc(folder_project, pairs):
    shutil.rmtree(pairs)
    assert f"there is no folder {pairs}" in error_line(run_stage("fetch", folder_project))
    result = run("dvc", "repro", cwd=folder_project)
    assert result.returncode != 0
    assert str(pairs) in result.stderr, "DVC itself names the missing folder"


def test_an_empty_folder_is_named_and_nothing_is_written(folder_project, pairs):
    for path in pairs.iterdir():
        shutil.rmtree(path)
    assert f"{pairs}: holds no image; expected some (" in error_line(run_stage("fetch", folder_project))
    assert not (folder_project / "data/raw").exists()


def test_a_mask_value_outside_the_table_is_named_with_its_pixels_and_nothing_is_written(
    folder_project, pairs
):
    Image.new("L", (40, 30), 9).save(pairs / "masks/photo 03.png")
    message = error_line(run_stage("fetch", folder_project))
    assert "1 bad samples; mend them, or set data.on_bad to skip to leave them out:" in message
    assert "masks/photo 03.png: mask values outside the class table: 9 (1200 pixels)" in message
    assert not (folder_project / "data/raw").exists()


@pytest.mark.slow
def test_a_bad_sample_left_out_is_named_in_summary_manifest_and_report(pairs, tmp_path):
    (pairs / "images/photo 03.jpg").write_bytes(b"")
    project = make_project(
        tmp_path / "project",
        **{
            "data.source": "folder",
            "data.folder.path": str(pairs),
            "data.on_bad": "skip",
            "train.batch_size": 2,
            # Names that a table's reader could take for a number and for nothing.
            "data.classes": [
                {"name": "1", "value": 1, "colour": "#000000"},
                {"name": "None", "value": 2, "colour": "#777777"},
                {"name": "border", "value": 3, "colour": "#ffaa00"},
            ],
        },
    )
    result = run("dvc", "repro", cwd=project)
    assert result.returncode == 0, result.stderr
    for path in (
        "data/raw/summary.json",
        "data/records/manifest.json",
        "results/report/report.md",
        "results/report/index.html",
    ):
        text = (project / path).read_text().replace("\\", "")
        assert "images/photo 03.jpg: an empty file" in text, path


def test_where_all_samples_are_bad_the_split_without_any_is_named(folder_project, pairs):
    for path in (pairs / "masks").iterdir():
        path.write_bytes(b"")
    set_params(folder_project, {"data.on_bad": "skip"})
    message = error_line(run_stage("fetch", folder_project))
    assert message.startswith("error: no good sample is left in the test split. 12 bad samples")


def test_a_batch_larger_than_the_training_split_is_refused_and_the_model_stays(project):
    before = (project / "models/model.keras").read_bytes()
    set_params(project, {"train.batch_size": 64})
    message = error_line(run_stage("train", project))
    assert re.search(r"train\.batch_size = 64 is larger than the training split of \d+ samples", message)
    assert (project / "models/model.keras").read_bytes() == before


def test_a_missing_weights_file_is_named_with_what_else_is_allowed(project):
    set_params(project, {"model.encoder.weights": "no/such.h5"})
    message = error_line(run_stage("fetch_encoder", project))
    assert "model.encoder.weights: there is no file no/such.h5; set it to imagenet, none" in message


def test_weights_that_do_not_fit_are_named_with_the_encoder(project):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]).save_weights(project / "my.weights.h5")
    set_params(project, {"model.encoder.weights": "my.weights.h5"})
    message = error_line(run_stage("fetch_encoder", project))
    assert "my.weights.h5: these weights do not fit mobilenet_v2 with alpha 0.35" in message


@pytest.mark.parametrize("stage", [slow("train"), "evaluate", slow("report")])
@pytest.mark.parametrize(
    ("damage", "words"), [slow("cut in half", "too short"), ("a flipped byte", "corrupt")]
)
def test_a_damaged_record_shard_is_named_with_the_mend(project, stage, damage, words):
    path = project / "data/records/test-00000.tfrecord"
    content = bytearray(path.read_bytes())
    if damage == "cut in half":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 1
    path.unlink()  # it may be a link into DVC's cache
    path.write_bytes(content)
    message = error_line(run_stage(stage, project))
    assert "data/records/test-00000.tfrecord" in message
    assert words in message


@pytest.mark.parametrize(("file", "stage"), [("data/raw/summary.json", "preprocess"),
                                            slow("data/records/manifest.json", "evaluate"),
                                            slow("data/encoder/encoder.json", "train")])  # fmt: skip
@pytest.mark.parametrize("content", [slow(""), "{}", slow('{"splits": ')])
def test_a_damaged_description_is_named_with_the_command_that_writes_it(project, file, stage, content):
    (project / file).unlink()
    (project / file).write_text(content)
    assert re.search(
        rf"{file}: .*`dvc repro --force \w+` writes it", error_line(run_stage(stage, project))
    )


def test_a_killed_fetch_takes_its_workers_with_it(project):
    set_params(project, {"data.synthetic.train": 5000})
    process = subprocess.Popen(
        [sys.executable, "stages/fetch.py"], cwd=project, env=environment(), start_new_session=True
    )
    while not (project / "data/.raw.partial").exists():
        assert process.poll() is None
    process.kill()
    process.wait()
    deadline = time.monotonic() + 60
    while of_session(process.pid):
        assert time.monotonic() < deadline, of_session(process.pid)
        time.sleep(0.1)
    set_params(project, {"data.synthetic.train": 24})
    assert run_stage("fetch", project).returncode == 0, "what the killed one left is no obstacle"
    assert leftovers(project) == []


def of_session(session):
    """The processes of a session that still live."""
    living = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, _, of = stat.read_text().rpartition(") ")[2].split()[:4]
            if int(of) == session and state != "Z":
                living.append(stat.parent.name)
    return living


def test_dvc_mends_a_damaged_shard_from_its_cache(project):
    path = project / "data/records/test-00000.tfrecord"
    good = path.read_bytes()
    path.unlink()
    path.write_bytes(good[:-5])
    assert run("dvc", "repro", cwd=project).returncode == 0
    assert path.read_bytes() == good


@pytest.mark.parametrize(
    "kind",
    [slow("text"), slow("another zip"), "another network", slow("of equal shape"), slow("unbuilt")],
)
def test_a_model_that_is_not_ours_is_refused_and_the_scores_stay(project, kind):
    path = project / "models/model.keras"
    path.unlink()
    if kind == "text":
        path.write_text("no model")
    elif kind == "another zip":
        shutil.make_archive(str(path), "zip", project / "stages")
        path.with_suffix(".keras.zip").rename(path)
    else:
        network = {
            "another network": [keras.Input((8, 8, 3)), keras.layers.Flatten()],
            "of equal shape": [keras.Input((32, 32, 3)), keras.layers.Conv2D(3, 1)],
            "unbuilt": [keras.layers.Dense(2)],
        }[kind]
        keras.Sequential(network).save(path)
    scores = (project / "results/evaluate/metrics.json").read_text()
    message = error_line(run_stage("evaluate", project))
    assert "models/model.keras: " in message
    assert "not a model that segpipe saved" in message
    assert (project / "results/evaluate/metrics.json").read_text() == scores


def test_a_model_for_another_image_size_is_refused_and_both_sizes_are_named(project):
    records = project / "data/records/manifest.json"
    text = records.read_text()
    records.unlink()
    records.write_text(text.replace('"image_size": [\n    32', '"image_size": [\n    64'))
    message = error_line(run_stage("evaluate", project))
    assert "3 = border at 32 x 32 px (stretch), but the records have" in message
    assert "3 = border at 64 x 32 px (stretch); train it on these records" in message


def test_a_stage_run_from_another_folder_says_where_to_run_it(project, tmp_path):
    result = run("python", str(project / "stages/fetch.py"), cwd=tmp_path)
    assert "run stages from the root of the repository" in error_line(result)


@pytest.mark.parametrize(
    ("stage", "out"),
    [
        ("fetch", "data/raw"),
        slow("fetch_encoder", "data/encoder"),
        slow("preprocess", "data/records"),
        ("train", "models/model.keras"),
        slow("evaluate", "results/evaluate/predictions"),
        slow("report", "results/report"),
    ],
)
def test_a_full_disk_is_one_line_and_the_earlier_out_stays(finished_project, small_disk, stage, out):
    """Whatever the stage would replace is still there; nothing half-written is."""
    disk = small_disk("12m")
    project = disk / "project"
    shutil.copytree(
        finished_project,
        project,
        ignore=shutil.ignore_patterns(
            ".git", "tmp", "cache", "requirements.lock", "docs", "experiments", "tests"
        ),
    )
    before = contents(project / out)
    with (disk / "ballast").open("wb", buffering=0) as ballast, pytest.raises(OSError, match="left"):
        while ballast.write(bytes(512)):
            pass
    result = run_stage(stage, project, PYTHONDONTWRITEBYTECODE="1")
    assert "No space left on device" in error_line(result) or "errno = 28" in error_line(result)
    assert before
    assert contents(project / out) == before
    assert leftovers(project) == []


def contents(out):
    """The files of an out and what is in them."""
    return {path: path.read_bytes() for path in (out, *out.rglob("*")) if path.is_file()}


BUSY_WHEN = {
    "fetch": "data/.raw.partial",
    "preprocess": "data/.records.partial",
    "train": "results/train/previews/epoch-000.png",
    "evaluate": "results/evaluate/.predictions.partial",
}
"""What appears once a stage has begun its work."""


@pytest.mark.parametrize("stage", ["fetch", slow("preprocess"), "train", slow("evaluate")])
def test_ctrl_c_at_work_is_one_line_and_leaves_nothing_half_written(project, stage):
    set_params(project, {"data.synthetic.train": 5000, "train.epochs": 5000})
    out_of = {
        "fetch": "data/raw", "preprocess": "data/records", "train": "models/model.keras",
        "evaluate": "results/evaluate/predictions",
    }  # fmt: skip
    before = contents(project / out_of[stage])
    assert before
    sign = project / BUSY_WHEN[stage]
    if sign.is_file():
        shutil.rmtree(sign.parent)
    out, err = interrupt(stage, project, lambda _: sign.exists())
    assert "error: interrupted; the same command begins the stage again (training resumes" in err, (
        out + err
    )
    assert "Exception ignored" not in err, err
    assert "Traceback" not in err
    assert leftovers(project) == []
    assert contents(project / out_of[stage]) == before


@pytest.mark.parametrize("stage", ["fetch_encoder", "train", "report"])
def test_ctrl_c_during_the_imports_is_one_line(project, stage):
    def numpy_is_loaded(pid: int) -> bool:
        return "numpy" in Path(f"/proc/{pid}/maps").read_text()

    out, err = interrupt(stage, project, numpy_is_loaded)
    assert "error: interrupted; the same command begins the stage again (training resumes" in err, (
        out + err
    )
    assert "Exception ignored" not in err, err
    assert "Traceback" not in err


def interrupt(stage, project, ready):
    """Start a stage in a process group of its own, and press Ctrl-C once it is `ready`."""
    process = subprocess.Popen(
        [sys.executable, f"stages/{stage}.py"], cwd=project, env=environment(),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    while not ready(process.pid):
        assert process.poll() is None, process.communicate()
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGINT, (process.returncode, out, err)
    return out, err
