"""How a plan lets classes be seen that few samples hold, or that cover few pixels."""

import pytest
from helpers import plain_params

from segpipe.plan import rare

LOSS = plain_params().train.loss


@pytest.mark.parametrize(
    ("now", "held", "expected"),
    [
        ("uniform", {"road": 0.9, "car": 0.34}, ("uniform", "every class is in a third of the samples")),
        (
            "uniform",
            {"road": 0.9, "car": 0.33, "sign": 0.25},
            ("balanced", "sign is in 25 % of the sam"),
        ),
        ("balanced", {"road": 1.0}, ("uniform", "every class")),
        (
            "uniform",
            {"road": 1.0, "wire": 0.0},
            ("balanced", "wire is in none of the samples that were"),
        ),
        ({"sign": 5.0}, {"road": 0.9, "sign": 0.02}, ({"sign": 5.0}, "your own weights")),
    ],
)
def test_samples_of_a_class_that_is_in_less_than_a_third_of_them_are_drawn_more_often(
    now, held, expected
):
    proposed, reason = rare.sampling(now, held)
    assert proposed == expected[0]
    assert reason.startswith(expected[1])


@pytest.mark.parametrize(
    ("now", "covered", "expected"),
    [
        ({}, {"road": 0.95, "car": 0.04, "sign": 0.01}, (0.0, "every class covers 1 % of the pixels")),
        ({}, {"road": 0.99, "pole": 0.008, "sign": 0.0012}, (1.0, "sign covers 0.12 % of the pixels")),
        ({"lovasz": 0.5}, {"road": 0.999, "sign": 0.001}, (0.5, "your own losses")),
        ({"dice": 1.0}, {"road": 0.999, "sign": 0.001}, (0.0, "your own losses")),
        ({}, {}, (0.0, "every class")),
    ],
)
def test_small_classes_count_as_large_ones_where_a_class_covers_less_than_a_hundredth(
    now, covered, expected
):
    weight, reason = rare.lovasz(LOSS.model_copy(update=now), covered)
    assert weight == expected[0]
    assert reason.startswith(expected[1])
