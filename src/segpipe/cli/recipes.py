"""The command `segpipe recipe`."""

from typing import Annotated

import typer


def recipe(
    name: Annotated[
        str | None, typer.Argument(help="A recipe, or a row of experiments/ablation.yaml.")
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="The param seed, too.")] = None,
) -> None:
    """Print the params of a recipe for `dvc exp run`; without a name, list the recipes.

    segpipe recipe best | xargs -r dvc exp run

    It also prints the committed value of each param that another recipe left in params.yaml. The recipe
    default is params.yaml as committed: if it prints nothing, run `dvc repro`.
    """
    from segpipe.params import recipes  # takes half a second, for NumPy and pydantic

    if name is None:
        for known, line in recipes.recipes().items():
            print(f"{known:10} {line}")
        return
    values = recipes.settings(name) | ({} if seed is None else {"seed": seed})
    for word in recipes.overrides(recipes.reset(values) | values):
        print("-S", recipes.quoted(word))
