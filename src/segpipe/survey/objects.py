"""The thickness of the objects in a folder's masks."""

from rich.progress import track

from segpipe.common.errors import UserError
from segpipe.common.files import first_by_hash
from segpipe.fetch.integrity import InColoursError, mask_pixels
from segpipe.fetch.sample import Sample
from segpipe.plan.objects import MASKS, Thickness
from segpipe.survey.folder import Survey


def thickness(survey: Survey) -> dict[str, float]:
    """Return the typical thickness of each class in pixels, the thinnest first, from a few masks."""
    samples = [row.sample for row in survey.stats]
    collected, names = Thickness(), survey.proposal.table.names
    chosen = first_by_hash(samples, MASKS, "plan", lambda sample: sample.name)
    for sample in track(chosen, "Measuring objects"):
        try:
            _add(collected, sample, survey)
        except (UserError, OSError):
            continue  # listed as a bad sample already
    return {names[index]: width for index, width in collected.by_class().items()}


def _add(collected: Thickness, sample: Sample, survey: Survey) -> None:
    _, mask = sample.content.read()
    table = survey.proposal.table
    if not isinstance(mask, bytes):  # drawn, as indices of the classes
        collected.add(mask)
        return
    try:
        values, _ = mask_pixels(mask, sample.mask, table.by_colour)
    except InColoursError:
        values, _ = mask_pixels(mask, sample.mask, True)
    collected.add(table.to_indices(values))
