"""Where samples come from: `data.source` names one of the modules here."""

from collections.abc import Iterator

from segpipe.common.classes import class_table
from segpipe.common.quiet import quiet
from segpipe.fetch.params import FetchParams
from segpipe.fetch.sample import Problem, Sample


def open_source(data: FetchParams) -> Iterator[Sample | Problem]:
    """Yield the samples of `data.source`, first the test split, then train, each in name order.

    Test comes first so that a training sample that is also a test sample is seen for what it is.
    A source reports what it finds wrong before any file is read (a missing partner, say) as a
    `Problem`; what is inside the files, `segpipe.fetch.raw` checks.

    Raises:
        UserError: the source as a whole cannot be used.
    """
    # Imported where chosen: TensorFlow Datasets alone takes seconds that no other source needs.
    if data.source == "folder":
        from segpipe.fetch import layouts

        return layouts.samples(data.folder, class_table(data.classes, data.ignore))
    if data.source == "synthetic":
        from segpipe.fetch import synthetic

        return synthetic.samples(data.synthetic)
    with quiet():
        import tensorflow  # noqa: F401  # TFDS would import it later, with its start-up messages

        from segpipe.fetch import tfds

    if data.source == "oxford_iiit_pet":
        return tfds.oxford_iiit_pet()
    return tfds.samples(data.tfds)
