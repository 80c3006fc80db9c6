"""Stage `report`: all results as pages for people, in `results/report`, and a picture for Git."""

import _stage  # noqa: F401

from pathlib import Path

import yaml

from segpipe.common.errors import exits_cleanly
from segpipe.common.files import first_by_hash
from segpipe.common.records import open_records
from segpipe.params.load import load_params
from segpipe.report.analysis import worst_samples
from segpipe.report.build import write_report, write_samples
from segpipe.report.read import read_pictures, read_results

RESULTS = Path("results")
IN_GIT = 4
"""Of the fixed samples, those in the picture that lives in Git."""


@exits_cleanly
def main() -> None:
    """Read params and results, draw, write the pages."""
    params = load_params()
    manifest = open_records(Path("data/records"))
    settings = yaml.safe_load((RESULTS / "train/params.yaml").read_text(encoding="utf-8"))
    for section in ("evaluate", "report"):
        settings[section] = getattr(params, section).model_dump(mode="json")
    results = read_results(RESULTS, Path("baseline.json"), settings, manifest.classes.names)
    fixed = first_by_hash(results.per_image["name"], max(params.report.samples, IN_GIT))
    shown = fixed[: params.report.samples]
    worst = worst_samples(results.per_image, params.report.worst)
    pictures = read_pictures(manifest, RESULTS / "evaluate/predictions", {*fixed, *worst})
    write_report(results, manifest, pictures, shown, worst, RESULTS / "report")
    write_samples(pictures, fixed[:IN_GIT], manifest.classes, RESULTS / "samples.jpg")
    print(f"report: {RESULTS / 'report/index.html'}")


if __name__ == "__main__":
    main()
