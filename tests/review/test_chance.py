"""Chance in the difference of two models: worked out by hand, and compared with scipy's tests."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from segpipe.evaluate import metrics
from segpipe.review.chance import (
    LEVEL,
    POWER,
    Difference,
    Spread,
    Verdict,
    compared,
    holm,
    losses,
    picked,
)

PIXELS = 1000


def right_and_wrong(right):
    """Counts of images of 1000 pixels of one class, so many of them right; the others are a second's."""
    right = np.asarray(right)
    zero, all_of_them = np.zeros_like(right), np.full_like(right, PIXELS)
    return np.stack([[right, zero], [all_of_them, zero], [right, PIXELS - right]]).transpose(2, 0, 1)


def accuracy(before, after, **spreads):
    counts = right_and_wrong(before), right_and_wrong(after)
    return compared(*counts, ["a", "b"], ["pixel_accuracy"], spreads)["pixel_accuracy"]


def by_p(*ps):
    """Differences that have these p, by the normal distribution."""
    return [Difference(0.0, stats.norm.isf(p / 2), 1.0, 1e9) for p in ps]


def test_the_images_chance_is_that_of_a_paired_t_test(rng):
    before = rng.integers(600, 900, 50)
    after = before + rng.integers(-60, 50, 50)
    found = accuracy(before, after).difference
    assert (found.before, found.after) == pytest.approx((before.mean() / PIXELS, after.mean() / PIXELS))
    deviation = np.std((after - before) / PIXELS, ddof=1) / 50**0.5
    assert found.deviation == pytest.approx(deviation, rel=0.07)  # of 1000 resamples
    assert found.freedom == 49
    assert found.p == pytest.approx(stats.ttest_rel(after, before).pvalue, abs=0.02)


def test_it_is_paired_so_that_what_both_models_find_hard_does_not_count(rng):
    before, moved = rng.integers(100, 900, 30), rng.integers(5, 15, 30)
    assert accuracy(before, before - moved).word == "worse"
    assert accuracy(before, before + moved).word == "better"
    assert accuracy(before, before).word == "no difference to be seen"


def with_a_rare_class(images, rng):
    """Counts of two equally good models on 60 images, of which so many hold a second class."""
    both = np.zeros((2, 60, 3, 2), np.int64)
    both[..., 0] = PIXELS
    hits = rng.normal(300, 30, images) + rng.normal(0, 20, (2, images))
    false = rng.normal(40, 10, (2, images))
    both[:, :images, :, 1] = np.stack([hits, np.full_like(hits, 400), hits + false], -1)
    both[:, :images, 2, 0] += (400 - hits - false).astype(int)
    return both


def of_rare(before, after, name):
    return compared(before, after, ["all", "rare"], [name], {})[name]


@pytest.mark.parametrize("images", [1, 2, 3, 5])
@pytest.mark.parametrize("name", ["iou.rare", "dice.rare", "mean_iou"])
def test_a_class_in_few_images_is_rarely_called_different_where_models_are_equal(images, name, rng):
    verdicts = [of_rare(*with_a_rare_class(images, rng), name) for _ in range(60)]
    assert sum(verdict.word != "no difference to be seen" for verdict in verdicts) <= 6


CLASSES = ["wide", "narrow", "thin"]
GATED = ["mean_iou", *(f"iou.{name}" for name in CLASSES)]
SEEDS = 3


def trained(hard, rng, models):
    """Counts of models of one recipe, int64 [models, images, 3, 3]; their seeds move each class.

    They move a score about as much as the images do. Every model finds the same images hard. A pixel
    that is missed goes to the next class.
    """
    truth = np.array([600, 300, 100])
    of_seed = rng.normal(0, 0.004, (models, 1, 3))
    wrong = (hard + of_seed + rng.normal(0, 0.02, (models, *hard.shape))).clip(0, 1)
    missed = (wrong * truth).round().astype(np.int64)
    counts = np.broadcast_to(truth, missed.shape)
    return np.stack([counts - missed, counts, counts - missed + np.roll(missed, 1, -1)], 2)


def spreads_of(counts):
    scores = metrics.scores(counts.sum(1))
    deviations = {name: picked(scores, name, CLASSES).std(ddof=1) for name in GATED}
    return {name: Spread(deviation, SEEDS) for name, deviation in deviations.items()}


def test_of_gates_on_all_scores_any_fails_in_at_most_5_percent_of_equal_pairs(rng):
    """Each pair has images of its own, and a spread that three more seeds have measured."""
    pairs, failed = 300, 0
    for _ in range(pairs):
        hard = rng.normal(0.2, 0.05, (30, 3))
        before, after, *seeds = trained(hard, rng, 2 + SEEDS)
        verdicts = compared(before, after, CLASSES, GATED, spreads_of(np.stack(seeds)))
        failed += any(verdict.word == "worse" for verdict in verdicts.values())
    assert failed <= stats.binom.isf(1e-3, pairs, LEVEL), "28: more are chance in one test of 1000"
    assert failed > 0


def test_one_image_with_a_class_can_show_nothing_of_others(rng):
    found = of_rare(*with_a_rare_class(1, rng), "iou.rare").difference
    assert found.deviation == pytest.approx(abs(found.after - found.before))
    assert (found.freedom, found.p) == (1, pytest.approx(0.5))  # Student's t of 1: half beyond it


def test_a_class_in_all_images_has_the_chance_of_them_all(rng):
    assert of_rare(*with_a_rare_class(60, rng), "iou.rare").difference.freedom == 59


def test_seeds_add_twice_their_variance_and_few_of_them_are_uncertain():
    before, after = [700, 700, 700], [710, 700, 690]  # differences of 10, 0, -10: variance 100 / 3
    found = accuracy(before, after, pixel_accuracy=Spread(0.02, 3)).difference
    of_images = 1e-4 / 3
    assert found.deviation**2 == pytest.approx(of_images + 2 * 0.02**2, rel=0.01)
    assert found.freedom == pytest.approx(
        (of_images + 8e-4) ** 2 / (of_images**2 / 2 + 8e-4**2 / 2), rel=0.01
    )


def test_a_spread_of_seeds_turns_a_sure_loss_into_none():
    before, after = np.full(20, 700), np.array([689, 691] * 10)
    assert accuracy(before, after).word == "worse"
    spread = {"pixel_accuracy": Spread(0.02, 3)}
    assert accuracy(before, after, **spread).word == "no difference to be seen"
    assert accuracy(before, after, mean_iou=Spread(0.02, 3)).word == "worse"


@pytest.mark.parametrize("images", [2, 10])
def test_a_loss_that_is_equal_in_all_images_is_no_certainty(images):
    """Copies of a picture tell no more than one of them."""
    counts = right_and_wrong([700] * images), right_and_wrong([699] * images)
    assert compared(*counts, ["a", "b"], ["pixel_accuracy", "mean_iou"], {}) == {}


def test_holm_steps_down_as_in_the_textbook():
    verdicts = holm(by_p(0.01, 0.04, 0.03, 0.005))
    assert [v.word for v in verdicts] == [
        "better", "no difference to be seen", "no difference to be seen", "better",
    ]  # fmt: skip
    assert [v.level for v in verdicts] == pytest.approx([0.05 / 3, 0.05 / 2, 0.05 / 2, 0.05 / 4])


def test_a_single_score_is_tested_at_five_per_cent():
    assert [v.word for v in (*holm(by_p(0.049)), *holm(by_p(0.051)))] == [
        "better", "no difference to be seen",
    ]  # fmt: skip


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=6))
def test_a_score_differs_exactly_where_it_leaves_the_margin(ps):
    for verdict in holm(by_p(*ps)):
        beyond = verdict.difference.after > verdict.margin
        assert (verdict.word == "better") == beyond or verdict.difference.p == pytest.approx(
            verdict.level
        )


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=6))
def test_holm_allows_what_bonferroni_allows_and_nothing_that_is_not_significant_alone(ps):
    for verdict in holm(by_p(*ps)):
        assert LEVEL / len(ps) <= verdict.level <= LEVEL


def test_the_margin_and_what_can_be_seen_are_the_normals():
    verdict = Verdict(Difference(0.5, 0.5, 0.01, 1e9), 0.05)
    assert verdict.margin == pytest.approx(0.0196, abs=1e-5)
    assert verdict.visible == pytest.approx(0.0196 + 0.0084, abs=1e-4)  # 80 % lie below 0.84


@given(st.lists(st.tuples(st.integers(0, PIXELS), st.integers(0, PIXELS)), min_size=2, max_size=8))
def test_swapped_sides_swap_the_verdict(pairs):
    before, after = np.array(pairs).T
    assume(np.ptp(after - before) or (before == after).all())
    one, other = accuracy(before, after), accuracy(after, before)
    swap = {"worse": "better", "better": "worse"}
    assert other.word == swap.get(one.word, one.word)
    assert other.margin == pytest.approx(one.margin)
    assert accuracy(before, after) == one, "the random numbers are seeded"


def test_scores_are_named_as_in_the_metrics():
    before = np.array([[[8, 4], [10, 5], [9, 6]]] * 2)
    after = np.array([[[10, 5], [10, 5], [10, 5]], [[8, 3], [10, 5], [10, 5]]])
    names = ["mean_iou", "mean_dice", "iou.a", "dice.b"]
    found = compared(before, after, ["a", "b"], names, {})
    sides = [(v.difference.before, v.difference.after) for v in found.values()]
    iou, dice = (8 / 11, 9 / 11), (8 / 11, 8 / 10)  # before and after, of a and of b
    assert sides == [
        pytest.approx(((8 / 11 + 4 / 7) / 2, (9 / 11 + 4 / 6) / 2)),
        pytest.approx(((16 / 19 + 8 / 11) / 2, (18 / 20 + 8 / 10) / 2)),
        pytest.approx(iou),
        pytest.approx(dice),
    ]
    assert list(found) == names


def test_an_images_loss_is_what_its_earlier_prediction_would_bring_back():
    before, after = right_and_wrong([900, 500, 700]), right_and_wrong([600, 500, 800])
    found = losses(before, after, ["a", "b"], "pixel_accuracy")
    assert found == pytest.approx([0.1, 0, -1 / 30])


def test_of_equal_models_at_most_five_per_cent_are_called_different(rng):
    pairs = 400
    called = sum(
        accuracy(*(rng.binomial(PIXELS, 0.8, 40) for _ in "ab")).word != "no difference to be seen"
        for _ in range(pairs)
    )
    assert called <= stats.binom.ppf(0.999, pairs, LEVEL)


def test_a_loss_as_large_as_it_says_is_seen_so_often(rng):
    before, after = (rng.binomial(PIXELS, 0.8, 40) for _ in "ab")
    loss = accuracy(before, after).visible
    seen = sum(
        accuracy(rng.binomial(PIXELS, 0.8, 40), rng.binomial(PIXELS, 0.8 - loss, 40)).word == "worse"
        for _ in range(200)
    )
    assert seen / 200 == pytest.approx(POWER, abs=0.12)
