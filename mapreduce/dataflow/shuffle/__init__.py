"""The shuffle over local files: partition, sort, spill, merge."""
