"""Two revisions, tested on the test images that both have."""

import json

import numpy as np
import pytest
from dvc.repo import Repo
from helpers import commit, git, make_repository

from segpipe.common.errors import CannotTell, UserError
from segpipe.evaluate.counts import Counts, encode, from_levels, levels
from segpipe.fetch import tally
from segpipe.review.chance import Difference, Verdict
from segpipe.review.paired import Verdicts, paired_test, recipe_hash
from segpipe.review.revision import COUNTS, MASK_TALLY, Revision

CLASSES = ["cat", "rest"]
IOU = "original.mean_iou"
NO_SEEDS = (
    "only the images' chance was counted for mean IoU: baseline.json holds no spread of seeds, which "
    "`segpipe noise` measures"
)


def counts(found, names=None, truth=400, bits=62):
    """Images of 1000 pixels with a cat of 400, so many of whose pixels were found."""
    found = np.asarray(found)
    cat = [found, np.full_like(found, truth), found]
    rest = [np.full_like(found, 1000 - truth)] * 2 + [1000 - found]
    pixels = np.stack([np.stack(cat), np.stack(rest)], axis=-1).transpose(1, 0, 2)
    return Counts(names or [f"image {n}" for n in range(len(found))], CLASSES, pixels, bits)


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository without a commit: a recipe and no baseline."""
    make_repository(tmp_path)
    Repo.init(str(tmp_path)).close()
    (tmp_path / "params.yaml").write_text("seed: 0\ntrain: {epochs: 5}\n")
    (tmp_path / "baseline.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def verdict_on(project):
    """Commit the base's counts, put this side's beside them, and test."""

    def made(before, here, *names):
        (project / COUNTS).parent.mkdir(parents=True, exist_ok=True)
        (project / COUNTS).write_text(before if isinstance(before, str) else encode(before))
        git(project, "add -A")
        git(project, "commit -q --allow-empty -m base")
        (project / COUNTS).write_text(here if isinstance(here, str) else encode(here))
        return paired_test(names or [IOU], Revision("HEAD"), Revision())

    return made


def write_seeds(project, recipe, deviation=0.02):
    seeds = {"number": 3, "recipe": recipe, "deviation": {"original": {"mean_iou": deviation}}}
    (project / "baseline.json").write_text(json.dumps({"seeds": seeds}))


def test_a_loss_is_said_in_one_sentence_with_what_it_affects_most(verdict_on):
    before = [300, 320, 340, 360, 380] * 8
    found = verdict_on(counts(before), counts([n - 30 for n in before[:-1]] + [380]))
    sentence = found.sentence(IOU)
    # hits 340 of 400, then 310.75: IoU of cat 0.85 and 0.7769; of the rest 600 / 660 and 600 / 689.25
    assert sentence.startswith(
        "mean IoU fell from 0.8795 to 0.8237; 95 % of equally good models lie within ±"
    )
    assert sentence.endswith(": worse")
    assert found.most_affected[IOU].startswith(
        "most affected classes: cat (IoU -0.0731), rest (IoU -0.0386); images: image "
    )
    assert "image 39" not in found.most_affected[IOU], "it is as good as before"
    assert found.notes == [NO_SEEDS]


def test_no_difference_says_what_the_test_images_could_show(verdict_on, rng):
    before = rng.integers(300, 400, 20)
    found = verdict_on(counts(before), counts(rng.permutation(before)))
    assert found.verdicts[IOU].word == "no difference to be seen"
    visible = found.verdicts[IOU].visible
    assert found.sentence(IOU).endswith(
        f"a true loss of {visible:.4f} would be detected with a probability of 80 %"
    )
    assert found.most_affected == {}


def test_equal_counts_stay(verdict_on):
    found = verdict_on(counts([300, 320]), counts([300, 320]))
    # IoU of cat 620 / 800, of the rest 1200 / 1380
    assert found.sentence(IOU) == "mean IoU stayed at 0.8223: no difference to be seen"


def test_a_measured_spread_of_seeds_counts_and_says_whose_it_is(project, verdict_on):
    params = {"train.epochs": 5}
    write_seeds(project, recipe_hash(params))
    before = list(range(300, 340))
    found = verdict_on(counts(before), counts([n - 4 for n in before]))
    assert found.verdicts[IOU].word == "no difference to be seen"
    assert found.notes == ["the spread of 3 seeds is that of baseline.json"]
    assert recipe_hash({"seed": 7, "gates": [], "report.samples": 1, **params}) == recipe_hash(params)
    (project / "baseline.json").write_text("{}")
    assert verdict_on(counts(before), counts([n - 4 for n in before])).verdicts[IOU].word == "worse"


def test_a_spread_of_another_recipe_and_a_changed_one_are_said(project, verdict_on):
    write_seeds(project, "of another")
    commit(project)
    before = counts([300, 320, 310])
    other = "it is that of another recipe than either side's; `segpipe noise` measures it anew"
    assert other in verdict_on(before, before).notes
    write_seeds(project, "of another", 0.5)
    found = paired_test([IOU], Revision("HEAD"), Revision())
    assert found.notes[-1] == "this change alters the spread of seeds"


def test_the_same_model_has_no_chance_of_seeds(project, verdict_on):
    write_seeds(project, "any")
    outs = [{"path": "models/model.keras", "md5": "abc"}]
    (project / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": {"train": {"outs": outs}}}))
    found = verdict_on(counts([300, 310, 320]), counts([299, 309, 319]))
    assert found.notes == ["both sides have the same model, so that seeds play no part"]


def test_only_images_with_the_same_name_and_pixels_of_each_class_are_compared(verdict_on):
    before = counts([300, 310, 320, 330], list("abcd"))
    here = counts([330, 320, 310, 50], list("dcbe"))
    here.pixels[0, 1] = [500, 500]  # another mask of d
    found = verdict_on(before, here)
    assert found.notes[0] == (
        "both sides share 2 test images with equal pixel counts (the base has 4, this has 4; the pixel "
        "counts of 1 differ); only these are compared"
    )
    assert found.verdicts[IOU].word == "no difference to be seen", "b and c are as before"


def test_a_mask_that_moved_inside_its_picture_is_another_mask(project, verdict_on):
    """The base has the digests a0 to a3; here the mask of `c` has another one, and as many pixels."""
    before = counts([300, 310, 320, 330], list("abcd"))
    here = counts([300, 310, 50, 330], list("abcd"))

    def write_digests(**others):
        digests = {"a": "a0", "b": "a1", "c": "a2", "d": "a3", "train": "a4"} | others
        (project / MASK_TALLY).parent.mkdir(parents=True, exist_ok=True)
        (project / MASK_TALLY).write_text(tally.encode(tally.Tally(digests)))

    write_digests()
    verdict_on(before, here)
    write_digests(c="b2")
    found = paired_test([IOU], Revision("HEAD"), Revision())
    assert found.notes[0] == (
        "both sides share 3 test images with equal masks (the base has 4, this has 4; the masks of 1 "
        "differ); only these are compared"
    )
    assert found.verdicts[IOU].difference.before == found.verdicts[IOU].difference.after
    write_digests()
    assert paired_test([IOU], Revision("HEAD"), Revision()).notes == [NO_SEEDS]
    (project / MASK_TALLY).write_text("damaged")
    assert paired_test([IOU], Revision("HEAD"), Revision()).notes == [NO_SEEDS]


def test_rounded_counts_are_of_the_same_masks(verdict_on):
    before = counts([300, 310], truth=401)
    rounded = from_levels(levels(before.pixels, 4), 4)
    assert rounded[0, 1].tolist() == [416, 576], "32 and 64 are the steps"
    found = verdict_on(before, Counts(before.images, CLASSES, rounded, 4))
    assert found.notes == [NO_SEEDS]


@pytest.mark.parametrize(
    ("here", "said"),
    [
        (counts([300, 310], ["x", "y"]), "too few test images to compare: both sides share 0 test"),
        (counts([300], ["image 0"]), "too few test images to compare: both sides share 1 test"),
        (Counts(["image 0"], ["dog"], np.ones((1, 3, 1), int)), "the base scores the classes cat,"),
        ("[]", "results/evaluate/counts.json of the working tree: holds no counts"),
    ],
)  # fmt: skip
def test_what_cannot_be_compared_is_no_verdict(verdict_on, here, said):
    with pytest.raises(CannotTell, match=said) as raised:
        verdict_on(counts([300, 310]), here)
    assert "\n" not in str(raised.value)


def test_a_base_without_counts_is_no_verdict(project):
    commit(project)
    with pytest.raises(
        CannotTell, match=r"HEAD has no results/evaluate/counts\.json.*merge the counts first"
    ):
        paired_test([IOU], Revision("HEAD"), Revision())


def test_a_class_in_no_shared_image_is_no_verdict(verdict_on):
    nowhere = counts([0, 0], truth=0)
    found = verdict_on(nowhere, nowhere, "original.iou.cat")
    assert found.verdicts == {}
    assert found.doubts == ["no test image that both sides share gives a score to IoU of cat"]


def test_a_score_that_cannot_be_tested_does_not_hide_the_loss_of_another(verdict_on):
    before, here = (
        Counts(side.images, [*CLASSES, "rare"], np.pad(side.pixels, ((0, 0), (0, 0), (0, 1))))
        for side in (counts([300, 320, 340, 360, 380] * 8), counts([270, 290, 310, 330, 350] * 8))
    )
    found = verdict_on(before, here, IOU, "original.iou.rare")
    assert found.verdicts[IOU].word == "worse"
    assert found.verdicts[IOU].level == 0.05, "it is tested alone"
    assert found.doubts == ["no test image that both sides share gives a score to IoU of rare"]
    assert found.notes == [NO_SEEDS]


def test_images_without_a_pixel_that_counts_are_not_compared(verdict_on):
    before, here = counts([300, 310, 320, 330]), counts([290, 330, 310, 300])
    for side in (before, here):
        side.pixels[2:] = 0  # ignored as a whole
    found = verdict_on(before, here, "original.pixel_accuracy")
    assert found.notes[0] == (
        "both sides share 2 test images with equal pixel counts (the base has 4, this has 4; the pixel "
        "counts of 0 differ; 2 have no pixel that counts); only these are compared"
    )
    assert found.verdicts["original.pixel_accuracy"].difference.freedom == 1
    for side in (before, here):
        side.pixels[1:] = 0
    with pytest.raises(CannotTell, match=r"share 1 test images .* 3 have no pixel that counts"):
        verdict_on(before, here, "original.pixel_accuracy")


def test_a_loss_that_is_equal_in_all_images_shows_nothing_of_chance(project, verdict_on):
    before, here = counts([300, 300]), counts([200, 200])
    found = verdict_on(before, here)
    assert found.verdicts == {}
    assert found.doubts == [
        "mean IoU differs by the same amount in all shared test images, which shows nothing of chance; "
        "add test images, or measure the spread of seeds (`segpipe noise`)"
    ]
    write_seeds(project, recipe_hash({"train.epochs": 5}), 0.001)
    # from (300 / 400 + 600 / 700) / 2 to (200 / 400 + 600 / 800) / 2: 0.18, that is 126 deviations
    found = verdict_on(before, here)
    assert (found.verdicts[IOU].word, found.doubts) == ("worse", [])


def test_bounds_beyond_the_score_are_no_bounds():
    """Student's t of 1 has its quantile of 97.5 % at 12.7, so that the bounds are 6.4."""
    found = Verdicts({IOU: Verdict(Difference(0.8, 0.7, 0.5, 1), 0.05)})
    assert found.sentence(IOU) == (
        "mean IoU fell from 0.8000 to 0.7000: no difference to be seen; no loss, however large, would "
        "be detected with a probability of 80 %"
    )


def test_classes_in_another_order_are_the_same_classes(verdict_on):
    before = counts([300, 320])
    turned = Counts(before.images, CLASSES[::-1], before.pixels[..., ::-1])
    found = verdict_on(turned, before, "original.iou.cat")
    assert found.sentence("original.iou.cat") == "IoU of cat stayed at 0.7750: no difference to be seen"


@pytest.mark.parametrize(
    "key",
    [
        "data.workers", "data.shard_mb", "train.in_memory", "train.tensorboard", "train.previews.every",
        "train.steps_per_execution",
    ],
)  # fmt: skip
def test_params_that_change_no_score_are_no_part_of_a_recipe(key):
    assert recipe_hash({"train.epochs": 5, key: 1}) == recipe_hash({"train.epochs": 5, key: 2})
    assert recipe_hash({"train.epochs": 5}) == recipe_hash({"train.epochs": 5, key: 2})


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        ("3", "seeds needs number, recipe and deviation"),
        ('{"number": 1, "recipe": "a", "deviation": {}}', "seeds.number is 1, not 2 or more"),
        ('{"number": 3, "recipe": "a", "deviation": {"loss": -1}}', "seeds.deviation.loss is -1"),
    ],
)
def test_a_damaged_spread_is_an_error_of_one_line(project, verdict_on, seeds, said):
    (project / "baseline.json").write_text(f'{{"seeds": {seeds}}}')
    with pytest.raises(UserError, match=said) as raised:
        verdict_on(counts([300, 310]), counts([300, 310]))
    assert "`segpipe noise`" in str(raised.value) and "\n" not in str(raised.value)


def test_scores_that_are_tested_together_are_said_to_be(verdict_on):
    before = counts([300, 310, 320])
    found = verdict_on(before, before, IOU, "original.pixel_accuracy", "original.dice.cat")
    assert found.notes[0].startswith(
        "3 scores are tested together: chance calls any of them different in"
    )
    assert found.sentence("original.dice.cat").startswith("Dice of cat stayed at 0.")
