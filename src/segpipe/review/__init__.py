"""Review a change: is it up to date, what did it change, may it be merged."""

from pathlib import Path

TEMPLATES = Path(__file__).parent / "templates"
