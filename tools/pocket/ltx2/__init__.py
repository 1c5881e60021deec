"""The pocket with sound: LTX-2's architecture on the pocket model's world, in which each colour sounds."""
