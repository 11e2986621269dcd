"""Objects in stores, by their URLs."""
