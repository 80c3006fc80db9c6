"""Surveys a folder of images and masks, and proposes the section `data` of `params.yaml` for it."""
