"""mapreduce/coordinator."""
