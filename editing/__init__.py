"""A clip changed as latents: extended, looped, blended, cut and put together again."""
