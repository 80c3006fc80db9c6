"""Bands in params.yaml: what cannot be is named, with what can."""

from pathlib import Path

import pytest
from helpers import plain_params

from segpipe.common.errors import ParamsError
from segpipe.params.load import check_params

A_LIST = r"rgb, or a list of 1 to 16 different band numbers from 1"


def params_with(**bands):
    content = plain_params().model_dump(mode="json")
    for section, value in bands.items():
        content[section]["bands"] = value
    return check_params(content, Path("params.yaml"))


@pytest.mark.parametrize("value", ["RGB", [], [0], [1, 1], [True], [1.0], 3, [*range(1, 18)], None])
def test_bands_are_rgb_or_different_numbers(value):
    with pytest.raises(ParamsError, match=rf"data\.bands.*: input should be {A_LIST}"):
        params_with(data=value)


@pytest.mark.parametrize("value", ["rgb", [], [1, 2], [1, 2, 3, 4], [True], 1])
def test_the_report_shows_one_band_or_three(value):
    with pytest.raises(
        ParamsError, match=r"report\.bands.*auto, or a list of one band \(as grey\) or three"
    ):
        params_with(report=value)


@pytest.mark.parametrize(
    ("bands", "shown", "message"),
    [
        ("rgb", [4], r"shows band 4, which the network does not see \(by data\.bands it sees 1, 2, 3\)"),
        ([8, 4], [4, 8, 1], r"shows band 1, which .* it sees 8, 4\)"),
    ],
)
def test_the_report_shows_bands_that_the_network_sees(bands, shown, message):
    with pytest.raises(ParamsError, match=message):
        params_with(data=bands, report=shown)


def test_bands_keep_their_order():
    params = params_with(data=[8, 4, 3], report=[3, 4, 8])
    assert (params.data.bands, params.report.bands) == ((8, 4, 3), (3, 4, 8))
