"""Surveying a folder of images and masks, and the `data` section of `params.yaml` that fits it."""
