"""Pyramid Flow (arXiv 2410.05954): video is generated frame by frame, each frame at a pyramid of resolutions.

transformer.py is the network (both variants), causal_vae.py the causal video VAE, schedule.py the noise levels of the
stages, sampler.py the loop over frames and stages. These do not use ComfyUI. The other files connect them to the pack.
"""
