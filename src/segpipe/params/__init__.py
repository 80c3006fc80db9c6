"""`params.yaml`: loaded, checked as a whole, changed, and as recipes."""
