"""Pictures in use beside those that a model was trained on."""
