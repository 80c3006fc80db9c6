"""The training run: the loop, its callbacks, and the saved model."""
