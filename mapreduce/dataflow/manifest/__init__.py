"""The output folder: reserved, committed, cleaned up, read by its manifest."""
