"""A model of photographs that is good enough to compare exports by their scores."""

from pathlib import Path

import pytest
from helpers import make_project, run


@pytest.fixture(scope="session")
def photographs_project(
    pet_dir: Path, encoder_weights: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A project that was trained on photographs of pets for three epochs."""
    project = make_project(
        tmp_path_factory.mktemp("photographs") / "project",
        **{
            "data.source": "folder",
            "data.folder.path": str(pet_dir),
            "data.folder.layout": "oxford",
            "data.image_size": 128,
            "model.encoder.weights": str(encoder_weights),
            "model.encoder.alpha": 1.0,
            "model.encoder.layers": [
                "block_1_expand_relu", "block_3_expand_relu", "block_6_expand_relu",
                "block_13_expand_relu", "block_16_project",
            ],
            "model.decoder.filters": [512, 256, 128, 64],
            "train.batch_size": 16,
            "train.learning_rate": 0.001,
            "train.epochs": 3,
        },
    )  # fmt: skip
    assert run("dvc", "repro", "train", cwd=project).returncode == 0
    return project
