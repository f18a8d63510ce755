"""The formats that Tradu reads and writes, one module each."""
