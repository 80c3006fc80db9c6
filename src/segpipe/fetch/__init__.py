"""Samples from any source, checked, as canonical shards."""
