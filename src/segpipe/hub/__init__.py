"""Exports and their cards for a model hub."""
