"""Pyramid Flow (arXiv 2410.05954): video made frame by frame, each frame over a pyramid of resolutions.

transformer.py is the network (both variants), causal_vae.py the causal video VAE, schedule.py the noise levels of the
stages, sampler.py the loop over frames and stages: these do not use ComfyUI. network.py, autoencoder.py, shot.py and
family.py connect them to the pack.
"""
