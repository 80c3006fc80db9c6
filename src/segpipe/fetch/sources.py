"""Where samples come from: `data.source` names one of the modules here."""

from pathlib import Path

from segpipe.common.classes import class_table
from segpipe.common.quiet import quiet
from segpipe.fetch.params import FetchParams
from segpipe.fetch.sample import Samples


def open_source(data: FetchParams) -> Samples:
    """Yield the samples of `data.source`, test split first, each split in name order.

    The test split comes first so that a training sample that is also a test sample is recognised. A
    source yields a `Problem` for a fault outside the files, such as a missing partner;
    `segpipe.fetch.raw` checks the files. Raises UserError where the source as a whole cannot be used.
    """
    # Imported where chosen: TensorFlow Datasets alone takes seconds that no other source needs.
    if data.source == "folder":
        from segpipe.fetch import layouts

        table, folder = class_table(data.classes, data.ignore), data.folder
        return layouts.samples(folder.layout, Path(folder.path), folder.test_share, table, folder.group)
    if data.source == "synthetic":
        from segpipe.fetch import synthetic

        return synthetic.samples(data.synthetic)
    with quiet():
        import tensorflow  # noqa: F401  # TFDS would import it later, with its start-up messages

        from segpipe.fetch import tfds

    return tfds.oxford_iiit_pet() if data.source == "oxford_iiit_pet" else tfds.samples(data.tfds)
