"""What is left of a failed job, and the ways from it to the next run."""
