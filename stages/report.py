"""Stage `report`: all results as pages in `results/report`, and a picture of samples for Git."""

import _stage  # noqa: F401

from pathlib import Path

from segpipe.common.errors import exits_cleanly
from segpipe.common.records import open_records
from segpipe.params.load import load_params
from segpipe.report.build import build
from segpipe.report.read import read_results

RESULTS = Path("results")


@exits_cleanly
def main() -> None:
    """Read params and results, and build the report."""
    params, manifest = load_params(), open_records(Path("data/records"))
    used = {name: getattr(params, name).model_dump(mode="json") for name in ("evaluate", "report")}
    results = read_results(RESULTS, Path("baseline.json"), used, manifest.classes.names)
    build(results, manifest, RESULTS / "evaluate/predictions", params.report, RESULTS)
    print(f"report: {RESULTS / 'report/index.html'}")


if __name__ == "__main__":
    main()
