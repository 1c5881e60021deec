"""A clip through an autoencoder by the piece, in constant memory."""
