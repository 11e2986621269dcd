"""What a step's results depend on beside its input, as digests."""
