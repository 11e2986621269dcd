"""Map and reduce attempts: the loops that run users' functions, and what surrounds them."""
