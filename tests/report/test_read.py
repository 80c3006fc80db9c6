"""Reading what the earlier stages wrote."""

import json

import pandas as pd
import pytest
from helpers import COMMITTED

from segpipe.report.read import read_results


def written(folder, names):
    """Write the results of two classes: 1 and 2 pixels of the first, 3 and 4 of the second."""
    for stage in ("train", "evaluate"):
        (folder / stage).mkdir()
    for path in ("train/params.yaml", "train/summary.json", "evaluate/metrics.json", "baseline.json"):
        (folder / path).write_text(json.dumps({}))
    for path in ("train/history", "evaluate/calibration", "evaluate/by_distance"):
        pd.DataFrame({"distance": ["1"]}).to_csv(folder / f"{path}.csv", index=False)
    pairs = pd.MultiIndex.from_product([names, names], names=["truth", "prediction"])
    confusion = pd.DataFrame({"pixels": [1, 2, 3, 4]}, index=pairs)
    confusion.reset_index().to_csv(folder / "evaluate/confusion.csv", index=False)
    pd.DataFrame({"class": names, "iou": [0.5, None]}).to_csv(folder / "evaluate/per_class.csv")
    per_image = pd.DataFrame({"name": names, "mean_iou": [0.5, None]})
    per_image.to_csv(folder / "evaluate/per_image.csv", index=False)


@pytest.mark.parametrize(
    "names",
    [["01", "02"], ["true", "false"], ["1e3", "2"], ["None", "nan"], ["null", "NA"], ["1.0", "1"]],
    ids=str,
)
def test_names_of_classes_and_pictures_stay_texts(tmp_path, names):
    written(tmp_path, names)
    found = read_results(tmp_path, tmp_path / "baseline.json", COMMITTED, names)
    assert found.confusion.to_numpy().tolist() == [[1, 2], [3, 4]]
    assert [*found.confusion.index] == [*found.confusion.columns] == names
    assert [*found.per_image["name"]] == names
    assert [*found.by_class.index] == names
    assert found.by_class["iou"].isna().tolist() == [False, True]
