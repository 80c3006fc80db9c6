"""Where samples come from: `data.source` names one of the modules here."""

from collections.abc import Iterator

from segpipe.config import DataParams, class_table
from segpipe.data.sample import Problem, Sample


def open_source(data: DataParams) -> Iterator[Sample | Problem]:
    """Yield the samples of `data.source`, first the test split, then train, each in name order.

    Test comes first so that a training sample that is also a test sample is seen for what it is.
    A source reports what it finds wrong before any file is read (a missing partner, say) as a
    `Problem`; what is inside the files, `segpipe.data.raw` checks.

    Raises:
        UserError: the source as a whole cannot be used.
    """
    # Imported where chosen: TensorFlow Datasets alone takes seconds that no other source needs.
    if data.source == "folder":
        from segpipe.data.sources import folder

        return folder.samples(data.folder, class_table(data))
    if data.source == "synthetic":
        from segpipe.data.sources import synthetic

        return synthetic.samples(data.synthetic)
    from segpipe.data.sources import tfds

    if data.source == "oxford_iiit_pet":
        return tfds.oxford_iiit_pet()
    return tfds.samples(data.tfds)
