"""Reviewing a change: is it up to date, what did it do, may it be merged."""

from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"
