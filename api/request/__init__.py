"""What a client sends: the body, its fields, and the pictures and clips it brings or names."""
