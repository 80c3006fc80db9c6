"""Quantities as people say them."""


def duration(seconds: float) -> str:
    """A time span in the largest unit that it holds twice: `90 s`, `12 min`, `3 hours`, `2 days`."""
    for unit, length in (("days", 86400), ("hours", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"
