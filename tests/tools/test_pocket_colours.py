"""What previews of the shipped model look like: its recipe's colours belong to its autoencoder."""

from pathlib import Path

import torch
from pocket import colours, model

MODEL = Path(__file__).parents[2] / "models" / "pocket"


def test_the_recipes_colours_fit_the_autoencoder():
    pocket = model.load(MODEL)
    recorded = pocket.recipe["preview"]
    assert colours.explained(pocket, recorded) > 0.9
    others = {"factors": recorded["factors"][::-1], "bias": recorded["bias"]}
    assert colours.explained(pocket, others) < 0.5


def test_small_pictures_are_the_means_of_what_a_latent_stands_for():
    video = torch.arange(9.0)[None, None, :, None, None].expand(1, 3, 9, 4, 4)
    assert colours.small(video, torch.Size([1, 32, 3, 2, 2]))[0, 0, :, 0, 0].tolist() == [0.0, 2.5, 6.5]
