"""`segpipe sweep`: search the best params with Optuna; each finished trial is a DVC experiment."""
