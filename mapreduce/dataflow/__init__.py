"""mapreduce/dataflow."""
