"""Reviewing a change: is it up to date, what did it do, may it be merged."""
