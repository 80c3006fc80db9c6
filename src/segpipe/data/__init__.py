"""The data floor: samples in, batches out."""
