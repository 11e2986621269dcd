"""MapReduce for plain Python functions, on one machine or many."""
