"""Recipes: what they hold, and that `dvc exp run` takes from them just that."""

import re
import shutil

import pytest
import yaml
from helpers import COMMITTED, ROOT, commit, error_line, make_repository, plain_params, run, set_params

from segpipe.common.errors import UserError
from segpipe.common.nested import flat
from segpipe.params import recipes
from segpipe.params.load import load_params

NAMES = ["best", "default", "quick", "tutorial"]
ROWS = [row for part in recipes.ablation(ROOT / "experiments") for row in part.rows]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())

CIRCUMSTANCES = re.compile(
    r"train\.(backend|devices|precision|jit|steps_per_execution|deterministic|threads|in_memory|"
    r"tensorboard|previews\..*|max_minutes|samples)"
)
"""What is in `train` and decides nothing about how good a model gets from the data that there are."""


def settings(name):
    return recipes.settings(name, ROOT / "experiments")


@pytest.fixture
def folder(tmp_path):
    """Recipes of its own: `odd` has values of every kind."""
    (tmp_path / "odd.yaml").write_text(
        "# Odd values\n#\n# and more of it\n"
        "model: {encoder: {layers: [block_1, 'b, 2'], trainable: true, weights: 'my \"own\" file'}}\n"
        "train: {weight_decay: 0.0005, augment: {scale: [0.5, 2.0]}, class_weights: {border: 2.0},"
        " optimizer: 'true'}\n"
    )
    (tmp_path / "ablation.yaml").write_text(
        "- part: one\n"
        "  rows:\n"
        "  - {name: first, label: F, base: odd, changes: {train.weight_decay: 0.5}}\n"
        "  - {name: second, label: S, base: first, changes: {train.samples: 7, train.epochs: 2}}\n"
    )
    return tmp_path


@pytest.fixture
def tiny(folder):
    """A repository with our params, comments and all, the odd recipe and a stage that does nothing."""
    project = folder / "project"
    project.mkdir()
    shutil.copytree(ROOT / "experiments", project / "experiments")
    shutil.copy(folder / "odd.yaml", project / "experiments")
    shutil.copy(ROOT / "params.yaml", project)
    (project / "dvc.yaml").write_text("stages: {look: {cmd: ls, params: [train.weight_decay]}}\n")
    make_repository(project)
    assert run("dvc", "init", "-q", cwd=project).returncode == 0
    commit(project)
    return project


def test_recipes_set_params_that_decide_quality_and_nothing_else():
    keys = {key for key in recipes.KEYS if not CIRCUMSTANCES.fullmatch(key)}
    sections = ("data.image_size", "data.resize", "model.decoder.", "train.", "evaluate.tta.")
    layers = {"model.encoder.layers", "model.encoder.trainable"}
    deciding = {key for key in keys if key.startswith(sections)} | layers
    assert list(recipes.recipes(ROOT / "experiments")) == NAMES
    for name in NAMES:
        assert settings(name).keys() <= deciding, name


def test_the_tutorial_is_its_own_recipe():
    """As the page has it: 128 px, 20 passes, batches of 64, Adam at its default rate, random flips."""
    params = plain_params()
    train = params.train
    assert (params.data.image_size, params.evaluate.tta.flip) == ((128, 128), False)
    assert (train.epochs, train.steps_per_epoch, train.batch_size) == (20, 0, 64)
    assert (train.optimizer, train.learning_rate, train.schedule) == ("adam", 0.001, "constant")
    assert (train.augment.flip, train.augment.moves, train.augment.recolours) == (True, False, False)
    assert (train.ema, train.weight_decay, train.loss.cross_entropy) == (0, 0, 1)
    assert params.model.decoder.name == "pix2pix"
    assert params.model.encoder.trainable == "auto"


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_holds_what_differs_from_params_yaml_so_the_default_is_empty(name):
    assert all(COMMITTED[key] != value for key, value in settings(name).items())
    assert bool(settings(name)) == (name != "default")


@pytest.mark.parametrize("name", [*NAMES, *(row.name for row in ROWS)])
def test_recipes_and_rows_are_params_that_the_pipeline_takes(tmp_path, name):
    shutil.copy(ROOT / "params.yaml", tmp_path)
    set_params(tmp_path, COMMITTED | settings(name))
    read = load_params(tmp_path / "params.yaml").model_dump(mode="json")
    size = (COMMITTED | settings(name))["data.image_size"]
    expected = settings(name) | {"data.image_size": [size, size]}
    assert {key: flat(read)[key] for key in expected} == expected


def test_every_row_has_a_name_of_its_own_and_one_named_as_a_recipe_is_that_recipe():
    names = [row.name for row in ROWS]
    assert len({*names}) == len(names)
    assert "default" in names
    for row in ROWS:
        if row.name in NAMES:
            same = COMMITTED | settings(row.base) | row.changes
            assert same == COMMITTED | settings(row.name), row.name


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_says_what_it_reaches_in_what_time_and_by_which_command(name):
    head = (ROOT / f"experiments/{name}.yaml").read_text().split("\n\n")[0]
    assert re.match(r"# [A-Z]", head)
    assert re.findall(r"(?m)^# (reaches|takes|command) ", head) == ["reaches", "takes", "command"]
    assert f"segpipe recipe {name} | xargs -r dvc exp run\n" in head


def test_a_row_is_its_base_with_changes(folder):
    odd = {
        "model.encoder.layers": ["block_1", "b, 2"],
        "model.encoder.trainable": True,
        "model.encoder.weights": 'my "own" file',
        "train.weight_decay": 0.0005,
        "train.augment.scale": [0.5, 2.0],
        "train.class_weights": {"border": 2.0},
        "train.optimizer": "true",
    }
    assert recipes.settings("odd", folder) == odd
    assert recipes.settings("first", folder) == odd | {"train.weight_decay": 0.5}
    changes = {"train.weight_decay": 0.5, "train.samples": 7, "train.epochs": 2}
    assert recipes.settings("second", folder) == odd | changes


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("odd.yaml", "train: {epoch: 3}", r"odd\.yaml: train\.epoch: no such param; did you mean"),
        ("odd.yaml", "train: [", r"odd\.yaml is not YAML: "),
        ("ablation.yaml", "- {part: P, rows: []}", r"ablation\.yaml: 0\.rows: tuple should have at"),
        ("ablation.yaml", "- {part: P, rows: [{name: a, label: A, base: od, changes: {}}]}",
         r"ablation\.yaml: a: base: no recipe or row 'od'; did you mean odd\?"),
        ("ablation.yaml", "- {part: P, rows: [{name: a, label: A, base: odd, changes: {seeds: 1}}]}",
         r"ablation\.yaml: seeds: no such param; did you mean seed\?"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_named(folder, file, text, words):
    (folder / file).write_text(text)
    with pytest.raises(UserError, match=words):
        recipes.settings("odd", folder)


def test_words_that_others_take_for_booleans_stay_text(folder):
    path = folder / "params.yaml"
    path.write_text("data: {classes: [{name: off}, {name: no}]}\ntrain: {cache: true}\n")
    assert recipes.committed(path) == {
        "data": {"classes": [{"name": "off"}, {"name": "no"}]},
        "train": {"cache": True},
    }


def test_the_command_lists_recipes_by_the_first_line_of_their_heads(tiny):
    listed = run("segpipe", "recipe", cwd=tiny).stdout
    assert re.findall(r"(?m)^\w+", listed) == ["best", "default", "odd", "quick", "tutorial"]
    assert "odd        Odd values\n" in listed


def test_a_name_that_is_none_is_an_error_with_a_hint_and_leaves_stdout_empty(tiny, tmp_path):
    result = run("segpipe", "recipe", "turtorial", cwd=tiny)
    assert error_line(result).startswith("error: no recipe or row 'turtorial'; did you mean tutorial?")
    assert result.stdout == ""
    assert "run this from the root" in error_line(run("segpipe", "recipe", "best", cwd=tmp_path / ".."))


def take(project, command):
    """Run a command line and return the params that it leaves."""
    result = run("bash", "-c", f"set -o pipefail; {command}", cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr
    return yaml.safe_load((project / "params.yaml").read_text())


def changed(project, **changes):
    """Our params with those of the odd recipe, and more."""
    folder = project.parent / "expected"
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "params.yaml", folder)
    set_params(folder, recipes.settings("odd", project / "experiments") | changes)
    return yaml.safe_load((folder / "params.yaml").read_text())


def test_dvc_takes_a_recipe_through_xargs_and_leaves_comments_and_all_else(tiny):
    before = re.findall("#.*", (tiny / "params.yaml").read_text())
    assert take(tiny, "segpipe recipe odd --seed 3 | xargs -r dvc exp run") == changed(tiny, seed=3)
    assert re.findall("#.*", (tiny / "params.yaml").read_text()) == before


def test_a_recipe_replaces_class_weights_and_lists_of_another_length(tiny):
    set_params(tiny, {"train.class_weights": {"pet": 3.0}, "model.encoder.layers": ["a", "b", "c"]})
    assert take(tiny, "segpipe recipe odd | xargs -r dvc exp run") == changed(tiny)


def printed(project, *name):
    result = run("segpipe", "recipe", *name, cwd=project)
    assert result.returncode == 0, result.stderr
    return result.stdout.splitlines()


@pytest.mark.slow
def test_one_recipe_after_another_is_not_mixed_with_it(tiny):
    """`dvc exp run` leaves the params of the first in params.yaml."""
    assert printed(tiny, "default") == []
    take(tiny, "segpipe recipe quick | xargs -r dvc exp run")
    given_back = {
        f"-S {word}" for word in recipes.overrides({k: COMMITTED[k] for k in settings("quick")})
    }
    assert {*printed(tiny, "default")} == given_back
    assert take(tiny, "segpipe recipe default | xargs -r dvc exp run") == PARAMS
    take(tiny, "segpipe recipe odd | xargs -r dvc exp run")
    take(tiny, "segpipe recipe balanced | xargs -r dvc exp run")
    assert "-S train.class_weights=none" in printed(tiny, "best")
    best = take(tiny, "segpipe recipe best | xargs -r dvc exp run")
    assert flat(best, recipes.KEYS) == COMMITTED | settings("best")


def test_a_recipe_gives_back_only_the_seed_and_what_recipes_and_rows_set(tiny):
    set_params(tiny, {"data.folder.test_share": 0.3, "seed": 5, "train.loss.dice": 0.5})
    assert printed(tiny, "default") == ["-S seed=0", "-S train.loss.dice=0.0"]
    dice = [f"-S {word}" for word in recipes.overrides(settings("dice"))]
    assert {*printed(tiny, "dice")} == {*dice, "-S seed=0"}, "it sets that param itself"


def test_a_recipe_starts_from_the_params_that_were_committed_last(tiny):
    set_params(tiny, {"train.batch_size": 12})
    assert "-S train.batch_size=8" in printed(tiny, "best")
    commit(tiny)
    assert not any("batch_size" in line for line in printed(tiny, "best"))


def test_without_git_a_recipe_is_all_there_is(tiny):
    shutil.rmtree(tiny / ".git")
    set_params(tiny, {"train.batch_size": 12})
    assert printed(tiny, "default") == []
    assert printed(tiny, "quick") == [f"-S {word}" for word in recipes.overrides(settings("quick"))]


def test_what_stands_behind_a_recipe_wins(tiny):
    command = "dvc exp run $(segpipe recipe default) -S train.epochs=7"
    assert take(tiny, command)["train"]["epochs"] == 7


@pytest.mark.parametrize("option", ["--queue", "--temp"])
def test_a_recipe_composes_with_options_of_exp_run(tiny, option):
    assert take(tiny, f"segpipe recipe odd | xargs -r dvc exp run {option} --name odd") == PARAMS
    listed = run("dvc", "exp", "show", "--csv", cwd=tiny).stdout
    (row,) = [line for line in listed.splitlines() if line.startswith("odd,")]
    assert "0.0005" in row
