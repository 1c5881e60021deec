"""The calls of the API: one file per family of addresses, one function per call."""
