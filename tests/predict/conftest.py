"""A tiny model, and the command that predicts with it."""

import functools

import pytest
from test_predictor import card, network

from segpipe.train.saving import save_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.keras"
    save_model(network((32, 32), 3), path, card((32, 32)))
    return path


@pytest.fixture
def predict(model, segpipe):
    """Run the command: exit code, what it printed, what it complained of."""
    return functools.partial(segpipe, "predict", "--model", model)
