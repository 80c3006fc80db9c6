"""Labels that get better: which masks are wrong."""
