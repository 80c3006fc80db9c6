"""The report: tables and arrays in, pages for people out. Never imports TensorFlow."""
