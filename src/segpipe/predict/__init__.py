"""From a saved model and pictures to masks."""
