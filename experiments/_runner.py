"""What runners of experiments share: one of them at a time, which ends when it is told to."""

import argparse
import fcntl
import os
import signal
import sys
from typing import TextIO

import yaml
from _results import ROOT, Experiment, is_done, names

from segpipe.common.errors import UserError
from segpipe.common.words import did_you_mean

SCRATCH = ROOT / ".experiments"


def parser(description: str | None) -> argparse.ArgumentParser:
    """The command line of a runner."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("rows", nargs="*", metavar="ROW", help="rows or recipes; all by default")
    made.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], metavar="N")
    made.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="params on top")
    return made


def parse(command_line: argparse.ArgumentParser) -> argparse.Namespace:
    """What it says; `set` as a mapping.

    Raises:
        UserError: there is no such row.
    """
    arguments = command_line.parse_args()
    known = names()
    arguments.rows = arguments.rows or known
    for name in arguments.rows:
        if name not in known:
            raise UserError(f"no row or recipe {name!r}{did_you_mean(name, known)}")
    pairs = [text.partition("=") for text in arguments.set]
    arguments.set = {key: yaml.safe_load(value) for key, _, value in pairs}
    return arguments


def without_result(arguments: argparse.Namespace) -> list[Experiment]:
    """What is asked for and not done, the first seed of all rows before the second."""
    wanted = {Experiment(name, seed): None for seed in arguments.seeds for name in arguments.rows}
    return [experiment for experiment in wanted if not is_done(experiment, arguments.set)]


def say_what_failed(messages: list[str], tried: int) -> None:
    """Raise a UserError that lists them, if there are any."""
    if messages:
        raise UserError("\n       ".join([f"{len(messages)} of {tried} failed:", *messages]))


def end_when_told() -> None:
    """Have Ctrl-C and its like raise SystemExit, for what cleans up after itself."""
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(stop) is not signal.SIG_IGN:  # as nohup has it
            signal.signal(stop, lambda number, frame: sys.exit(128 + number))


def lock() -> TextIO:
    """A file that this process and what it runs hold locked, the latter also when this one is killed."""
    SCRATCH.mkdir(exist_ok=True)
    file = (SCRATCH / "lock").open("w", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"waiting for an experiment that runs in {SCRATCH} already", flush=True)
        fcntl.flock(file, fcntl.LOCK_EX)
    os.set_inheritable(file.fileno(), True)
    return file
