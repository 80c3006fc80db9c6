"""The model floor: Keras layers that run on any Keras backend."""
