"""A network -> MODEL, an autoencoder -> VAE, a T5 -> CLIP: ComfyUI's own objects, and sampling with them.

The only room that knows ComfyUI's internals and where its versions (0.3.75 and newer) differ. It knows no family.
"""
