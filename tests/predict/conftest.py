"""A tiny model, and the command that predicts with it."""

import sys

import pytest
from test_predictor import card, network

from segpipe import cli
from segpipe.train.saving import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    save_model(network((32, 32), 3), path, card((32, 32)))
    return path


@pytest.fixture
def predict(model, monkeypatch, capsys):
    """Run the command in this process: exit code, what it printed, what it complained of."""

    def command(*arguments):
        given = ["segpipe", "predict", "--model", str(model), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", given)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (ended.value.code or 0, *capsys.readouterr())

    return command
