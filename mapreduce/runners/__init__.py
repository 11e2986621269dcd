"""mapreduce/runners."""
