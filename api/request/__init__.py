"""Reading a request: its body, its fields, and the pictures and clips that it contains or refers to."""
