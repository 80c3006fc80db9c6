"""Fixed-size records from raw samples."""
