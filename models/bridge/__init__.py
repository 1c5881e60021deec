"""Wrap a network as MODEL, an autoencoder as VAE and a T5 as CLIP, and sample with them.

Only this room uses ComfyUI's internals, and handles the differences between its versions (0.3.75 and newer). It imports
no family.
"""
