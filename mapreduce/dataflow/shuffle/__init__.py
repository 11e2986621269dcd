"""mapreduce/dataflow/shuffle."""
