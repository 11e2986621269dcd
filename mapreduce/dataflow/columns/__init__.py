"""Records in memory: keys and values, their encodings, and columns of them."""
