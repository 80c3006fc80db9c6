"""What a run will take: the sizes of objects, the network's cost, and a plan for some minutes."""
