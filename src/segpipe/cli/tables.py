"""Tables on the terminal."""

from rich.table import Table


def table(title: str, first: str, *others: str) -> Table:
    """Make a table whose first column is text and whose others are numbers."""
    made = Table(title=title, title_justify="left")
    made.add_column(first)
    for heading in others:
        made.add_column(heading, justify="right")
    return made
