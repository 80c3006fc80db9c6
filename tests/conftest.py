"""Fixtures that many tests share."""

import os
from pathlib import Path

import numpy as np
import pytest
from helpers import PETS, draw_photo, make_project, run


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def pet_dir() -> Path:
    """Real photographs in the pets' layout."""
    return _from_environment("SEGPIPE_PET_DIR")


@pytest.fixture(scope="session")
def encoder_weights() -> Path:
    """ImageNet's MobileNetV2."""
    return _from_environment("SEGPIPE_ENCODER_WEIGHTS")


def _from_environment(name: str) -> Path:
    if name not in os.environ:
        pytest.skip(f"{name} is not set")
    return Path(os.environ[name])


@pytest.fixture
def pairs(tmp_path: Path, rng: np.random.Generator) -> Path:
    """A folder with 12 good samples in the layout `pairs`."""
    root = tmp_path / "my data"
    for name in [f"photo {number:02d}" for number in range(12)]:
        image, mask = draw_photo(rng, 40, 30)
        (root / "images").mkdir(parents=True, exist_ok=True)
        (root / "masks").mkdir(exist_ok=True)
        image.save(root / "images" / f"{name}.jpg")
        mask.save(root / "masks" / f"{name}.png")
    return root


@pytest.fixture(scope="session")
def finished_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the whole pipeline ran on tiny drawings; do not change it, copy it."""
    project = make_project(tmp_path_factory.mktemp("finished") / "project")
    result = run("dvc", "repro", cwd=project)
    assert result.returncode == 0, result.stdout + result.stderr
    return project


@pytest.fixture(scope="session")
def pets_table():
    return PETS
