"""Bytes on disk, errors and devices: what every stage builds on."""

__version__ = "0.6.0"
