"""A trained model in the formats of other runtimes, each proven in its own."""
