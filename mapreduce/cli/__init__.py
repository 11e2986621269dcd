"""mapreduce/cli."""
