"""Parts of output, in every format, written and read back."""
