"""Tables on the terminal."""

from rich.console import Console
from rich.table import Table


def table(title: str, first: str, *others: str) -> Table:
    """Make a table whose first column is text and whose others are numbers."""
    table = Table(title=title, title_justify="left")
    table.add_column(first, overflow="fold")  # two long names that are cut may look the same
    for heading in others:
        table.add_column(heading, justify="right", overflow="fold")
    return table


def show(*tables: Table) -> None:
    """Print tables; brackets and colons in their texts are no markup."""
    Console(markup=False, emoji=False).print(*tables)
