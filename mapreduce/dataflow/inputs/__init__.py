"""Which files a job reads, how they are cut, and how one is opened."""
