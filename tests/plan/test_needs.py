"""The memory of stages, worked out by hand for pictures of known sizes."""

import pytest

from segpipe.plan import memory
from segpipe.plan.sampled import SampledPictures
from segpipe.preprocess.intensity import RGB_OF_8_BITS


@pytest.mark.parametrize(("count", "at_once"), [(1, 1), (9, 2)])
def test_fetch_takes_14_bytes_a_pixel_of_rgb_in_each_worker(monkeypatch, count, at_once):
    """3 of the picture, 1 of the mask, 10 to check them: 400 Mpx took 5,360 MB when it was measured."""
    monkeypatch.setattr(memory, "usable_cores", lambda: 2)
    sizes = [(20_000, 20_000)] * count
    sampled = SampledPictures([], sizes, {}, {0: 1}, {"train": count}, RGB_OF_8_BITS, False)
    need = memory._fetch(sampled)
    assert need.stage == "fetch"
    assert need.bytes == pytest.approx(at_once * 400e6 * 14 + (at_once + 1) * 0.15e9)
    assert need.reason == f"{at_once} pictures at once, of 400 Mpx"
