"""Bad records: found by careful loops, put aside, counted."""
