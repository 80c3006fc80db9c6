"""`segpipe serve`: a whole predictor behind HTTP, and a page to try it. TensorFlow is never imported."""
