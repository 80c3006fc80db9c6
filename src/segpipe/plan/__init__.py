"""Plans a run: the sizes of objects, the network's cost, and params for some minutes."""
