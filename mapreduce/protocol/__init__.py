"""What crosses process borders: messages, their bytes, and the limits on both."""
