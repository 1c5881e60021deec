"""Encode and decode clips piece by piece, in constant memory."""
