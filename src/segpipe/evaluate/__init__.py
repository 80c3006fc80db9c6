"""Score a model on the test split, at network size and at each picture's own size."""
