"""A sweep's file and its params on the command line: ranges in Hydra's grammar, and what is refused."""

import sys
from pathlib import Path

import pytest
from helpers import ROOT, error_line, make_project, run

from segpipe.common.errors import UserError
from segpipe.params import recipes

optuna = pytest.importorskip("optuna", reason="Optuna is not installed (the extra sweep)")

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution  # noqa: E402

from segpipe.sweep.plan import read_plan  # noqa: E402

RATE = "train.learning_rate=tag(log, interval(0.001, 0.1))"


@pytest.fixture(autouse=True)
def at_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_ranges_are_those_of_hydras_grammar():
    plan = read_plan(
        None,
        7,
        [
            RATE,
            "train.weight_decay=interval(0, 0.9)",
            "train.epochs=int(interval(2, 9))",
            "train.schedule=choice(constant, cosine)",
            "model.decoder.filters=choice([32,32,32,32], [64,64,64,64])",
        ],
    )
    assert plan.ranges == {
        "train.learning_rate": FloatDistribution(0.001, 0.1, log=True),
        "train.weight_decay": FloatDistribution(0, 0.9),
        "train.epochs": IntDistribution(2, 9),
        "train.schedule": CategoricalDistribution(("constant", "cosine")),
        "model.decoder.filters": CategoricalDistribution(("[32,32,32,32]", "[64,64,64,64]")),
    }
    assert (plan.name, plan.trials, plan.fixed) == ("sweep", 7, {})


def test_the_command_line_comes_on_top_of_the_file_and_a_value_is_for_all_trials(tmp_path):
    path = tmp_path / "rates.yaml"
    path.write_text(
        "trials: 3\nsampler: random\nparams:\n  train.epochs: 5\n  train.class_weights: {border: 2.0}\n"
        "  train.learning_rate: interval(0.1, 0.2)\n  train.ema: interval(0.1, 0.2)\n"
    )
    plan = read_plan(path, None, [RATE, "train.ema=0.5"])
    assert (plan.name, plan.trials, plan.sampler, plan.pruner) == ("rates", 3, "random", "median")
    assert plan.ranges == {"train.learning_rate": FloatDistribution(0.001, 0.1, log=True)}
    assert plan.params.train.epochs == 5
    assert plan.overrides({"train.learning_rate": 0.01}) == [
        "train.epochs=5", "train.class_weights=null", "train.class_weights={border:2.0}",
        "train.ema=0.5", "train.learning_rate=0.01",
    ]  # fmt: skip


def test_another_commit_range_or_value_makes_another_study_and_more_trials_do_not():
    names = [
        read_plan(None, trials, on_top).study(commit)
        for trials, on_top, commit in [
            (3, [RATE], "a"),
            (9, [RATE], "a"),
            (3, [RATE], "b"),
            (3, [RATE, "train.epochs=2"], "a"),
            (3, [RATE.replace("0.1", "0.2")], "a"),
        ]
    ]
    assert names[0] == names[1]
    assert len({*names}) == 4


@pytest.mark.parametrize(
    ("on_top", "said"),
    [
        (["train.epochs=5"], "no param has a range, so there is nothing to search; give one tag(log,"),
        (["train.learning_rat=interval(1, 2)"], "train.learning_rat: no such param; did you mean train"),
        (["train.epochs=interval(1"], "train.epochs=interval(1: "),
        (["train.learning_rate=interval(2, 1)"], "train.learning_rate=interval(2, 1): "),
        (
            ["train.learning_rate=tag(log, interval(0, 1))"],
            "train.learning_rate=tag(log, interval(0, 1)",
        ),
        (["train.epochs=range(1, 4)"], "train.epochs=range(1, 4): a sweep takes tag(log, "),
        (
            ["train.learning_rate=tag(lgo, interval(0.1, 0.2))"],
            "train.learning_rate=tag(lgo, interval(0.1, 0.2)): no such tag here: lgo",
        ),
        (
            ["train.learning_rate=tag(log, choice(0.1, 0.2))"],
            "train.learning_rate=tag(log, choice(0.1, 0.2)): no such tag here: log",
        ),
        (["train.ema=interval(0.5, 1.5)"], "params.yaml: train.ema = 1.5: "),
        (["train.schedule=choice(cosine, linear)"], "params.yaml: train.schedule = 'linear': "),
        (["train.epochs=0", RATE], "params.yaml: train.epochs = 0: "),
    ],
)
def test_what_no_trial_could_take_is_refused_in_one_line_before_any_runs(on_top, said):
    with pytest.raises(UserError) as raised:
        read_plan(None, None, on_top)
    assert str(raised.value).startswith(said)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "on_top",
    [
        [
            "model.encoder.layers=[block_1_expand_relu,block_3_expand_relu,block_6_expand_relu]",
            "model.decoder.filters=choice([64,32],[32,16])",
        ],
        ["train.devices=16", "train.batch_size=choice(16,32)"],
        ["train.epochs=int(interval(1, 8))", "train.warmup_epochs=int(interval(0, 4))"],
    ],
)
def test_values_are_checked_with_those_of_trials_and_not_with_committed_ones_that_none_uses(on_top):
    plan = read_plan(None, 1, on_top)
    assert [*plan.fixed, *plan.ranges] == [text.partition("=")[0] for text in on_top]


def test_a_choice_that_no_value_of_another_range_fits_is_refused():
    with pytest.raises(UserError, match=r"devices = 5 does not divide batch_size = 16"):
        read_plan(None, 1, ["train.devices=choice(4, 5)", "train.batch_size=choice(16, 32)"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("trials: 0", "trials: input should be greater than or equal to 1"),
        ("sampler: grid", "sampler: input should be 'tpe' or 'random'"),
        ("ranges: {}", "ranges: extra inputs are not permitted"),
        ("a: [", "not YAML"),
    ],
)
def test_a_wrong_file_is_named_with_the_key(tmp_path, text, said):
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(UserError) as raised:
        read_plan(tmp_path / "own.yaml", None, [RATE])
    assert str(tmp_path / "own.yaml") in str(raised.value)
    assert said in str(raised.value)


def test_a_file_whose_name_no_experiment_can_have_is_refused_before_any_runs(tmp_path):
    for name, fits in {"my sweep": False, "a..b": False, "größe+2": True}.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text("params:\n  train.epochs: choice(1, 2)\n")
        if fits:
            assert read_plan(path, 1, []).name == name
        else:
            with pytest.raises(UserError, match=f"{name}.yaml: experiments get the name of this file"):
                read_plan(path, 1, [])


def test_the_example_is_a_sweep_and_no_recipe():
    plan = read_plan(Path("experiments/sweep.yaml"), None, [])
    assert [*plan.ranges] == ["train.learning_rate", "train.weight_decay"]
    assert "sweep" not in recipes.recipes()


def test_without_optuna_the_command_says_what_installs_it(tmp_path):
    code = "import sys; sys.modules['optuna'] = None; sys.argv[1:] = ['sweep', '--trials', '1']"
    code += "\nfrom segpipe.cli import main; main()"
    done = run(sys.executable, "-c", code, cwd=make_project(tmp_path / "project"))
    assert error_line(done) == (
        "error: segpipe sweep needs Optuna, which is not here; pip install -e '.[sweep]'\n"
    )
