"""LTX-2 by Lightricks, 2.0 (19B) and 2.3 (22B): picture and sound from one network."""
