"""The command that publishes an export."""

from pathlib import Path
from typing import Annotated

import typer
from rich.filesize import decimal

from segpipe.cli import tables


def push_hub(
    repository: Annotated[str, typer.Argument(help="OWNER/NAME on the Hugging Face Hub.")],
    export: Annotated[
        Path | None, typer.Argument(help="An export; by default the only one in models/export.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would go, and send nothing.")
    ] = False,
) -> None:
    """Put an export and its card on the Hugging Face Hub.

    Needs the extra `hub` and a login (`hf auth login`).
    """
    from segpipe.hub import push

    push.check_name(repository)
    files = push.files_of(export or push.only_export())
    table = tables.table(f"To {repository}", "on the hub", "from", "size")
    for name, path in files.items():
        table.add_row(name, str(path), decimal(path.stat().st_size))
    tables.show(table)
    if dry_run:
        print(
            "nothing was sent; a repository that is not there is made with the account's own visibility"
        )
    else:
        print(push.push(repository, files))
