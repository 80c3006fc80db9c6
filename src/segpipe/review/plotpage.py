"""Write a page template for `dvc plots` that contains Vega; DVC's own page loads it from the network.

Run `python -m segpipe.review.plotpage FILE`.
"""

import sys
from pathlib import Path

import vl_convert

from segpipe.common.errors import exits_cleanly
from segpipe.common.files import write_text
from segpipe.review import TEMPLATES

# The plots' templates name Vega-Lite 5, as DVC's own do. Version 6 draws them too, but would warn.
# SVG stays sharp, and its text can be searched. Vega's online editor needs a network.
EMBED = """
const options = {mode: "vega-lite", renderer: "svg", actions: {editor: false}};
window.vegaEmbed = (place, {$schema, ...plot}) => vegaEmbed(place, plot, options);
"""


def template() -> str:
    """Return HTML in which DVC replaces `{plot_divs}`. It needs no other file."""
    page = (TEMPLATES / "plots.html").read_text(encoding="utf-8")
    return page.replace("{vega}", vl_convert.javascript_bundle(EMBED))


@exits_cleanly
def main() -> None:
    """Write the template to the file named on the command line."""
    write_text(Path(sys.argv[1]), template())


if __name__ == "__main__":
    main()
