"""A page for `dvc plots` that carries Vega; DVC's own page loads it from the network.

`python -m segpipe.review.plotpage FILE` writes it as a template.
"""

import sys
from pathlib import Path

import vl_convert

from segpipe.common.errors import exits_cleanly
from segpipe.common.files import write_text

# The templates name Vega-Lite 5, as DVC's own do; version 6 draws them too, but would warn of the name.
# SVG stays sharp, and its text can be searched. Vega's online editor needs a network.
EMBED = """
const options = {mode: "vega-lite", renderer: "svg", actions: {editor: false}};
window.vegaEmbed = (place, {$schema, ...plot}) => vegaEmbed(place, plot, options);
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>segpipe: plots</title>
<style>
  :root { color-scheme: light; }
  body { margin: 1.5rem; background: white; color: #222; font-family: system-ui, sans-serif; }
  main { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: flex-start; }
  main > div { max-width: 100%; overflow-x: auto; }
  main > div:has(img) { flex-basis: 100%; border: none !important; }
  main > div > div:has(img) { max-width: calc(50% - 1rem); box-sizing: border-box; }
  main > div > div:has(img):only-of-type { max-width: 100%; }
  img { max-width: 100%; height: auto; }
</style>
<script>{vega}</script>
</head>
<body>
<h1>Plots</h1>
<main>
{plot_divs}
</main>
</body>
</html>
"""


def template() -> str:
    """HTML in which DVC replaces `{plot_divs}`, and which asks for no other file."""
    return PAGE.replace("{vega}", vl_convert.javascript_bundle(EMBED))


@exits_cleanly
def main() -> None:
    """Write the template to the file that the command line names."""
    write_text(Path(sys.argv[1]), template())


if __name__ == "__main__":
    main()
