"""A short prompt made as long as those that video models were trained on: by rules, or by a text model."""
