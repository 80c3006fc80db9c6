"""The phases of a training run: which epochs train what, and how fast."""

from dataclasses import dataclass

from segpipe.train.params import TrainParams


@dataclass(frozen=True)
class Phase:
    """Epochs, counted from 0, that share an optimizer, a learning-rate schedule and what is trained."""

    epochs: range
    learning_rate: float
    """After the warm-up."""
    trains_encoder: bool


def phases(params: TrainParams, trains_encoder: bool) -> list[Phase]:
    """The run as `params` has it: the epochs, then those of fine-tuning, if there are any.

    Args:
        params: the section `train`.
        trains_encoder: whether the first phase trains the encoder; fine-tuning always does.
    """
    first, end = params.epochs, params.total_epochs
    planned = (
        Phase(range(first), params.learning_rate, trains_encoder),
        Phase(range(first, end), params.fine_tuning.learning_rate, True),
    )
    return [phase for phase in planned if phase.epochs]
