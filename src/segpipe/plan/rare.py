"""Params that make training see classes in few samples, or of few pixels."""

from collections.abc import Mapping

from segpipe.train.params import LossParams, Sampling

_SELDOM = 1 / 3  # a class in a smaller share of the samples is shown more often
_SMALL = 0.01  # a mean over pixels hardly sees a class with a smaller share of them


def sampling(now: Sampling, held: Mapping[str, float]) -> tuple[Sampling, str]:
    """Return `train.sampling` and the reason.

    `held` is the share of samples with each class, for the classes that pictures hold.
    """
    if not isinstance(now, str):
        return now, "your own weights"
    seldom = {name: share for name, share in held.items() if share < _SELDOM}
    if not seldom:
        return "uniform", "every class is in a third of the samples or more"
    rarest = min(seldom, key=seldom.__getitem__)
    if not seldom[rarest]:
        return "balanced", f"{rarest} is in none of the samples that were cut, though pictures hold it"
    return "balanced", f"{rarest} is in {100 * seldom[rarest]:.2g} % of the samples"


def lovasz(now: LossParams, covered: Mapping[str, float]) -> tuple[float, str]:
    """Return the weight of the loss that counts small classes as large ones, and why.

    `covered` is the share of the pixels that each class covers.
    """
    if now.lovasz or now.dice:
        return now.lovasz, "your own losses"
    small = {name: share for name, share in covered.items() if share < _SMALL}
    if not small:
        return 0.0, f"every class covers {100 * _SMALL:.0f} % of the pixels or more"
    smallest = min(small, key=small.__getitem__)
    return 1.0, f"{smallest} covers {100 * small[smallest]:.2g} % of the pixels, and counts as any other"
