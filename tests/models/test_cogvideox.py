"""CogVideoX against diffusers' pipelines, from folders and from single files with diffusers and SAT keys."""

from __future__ import annotations

import pytest
import tiny_cogvideox
import torch
from atelier.models import bridge, checkpoint, cogvideox, knowns
from atelier.models.files import CheckpointError, open_checkpoint
from diffusers import AutoencoderKLCogVideoX, CogVideoXTransformer3DModel
from tiny_cogvideox import FRAMES, HEIGHT, WIDTH

STEPS, GUIDANCE, PROMPT, NEGATIVE = 5, 3.0, "a red circle moving left", "blurry"


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return ((a - b).norm() / b.norm()).item()


def shapes(state: dict) -> dict:
    return {key: tuple(weight.shape) for key, weight in state.items()}


class Loaded:
    """A folder loaded by us, and the pipeline it was saved from."""

    def __init__(self, path, name):
        tiny_cogvideox.folder(path, name)
        self.model, self.clip, self.vae = (
            load(path) for load in (checkpoint.load_model, checkpoint.load_clip, checkpoint.load_vae)
        )
        self.pipe, self.variant = tiny_cogvideox.pipeline(name), self.model.model.variant

    def text(self, prompt: str) -> list:
        return bridge.encode_text(self.clip, prompt)[0]

    def empty(self, frames: int = FRAMES) -> dict:
        return bridge.empty_latent(self.variant.grid.latent_shape(WIDTH, HEIGHT, frames), 8.0)

    def sampled(self, latent: dict, seed: int) -> torch.Tensor:
        inner = self.model.model
        sigmas = inner.family.schedule(inner.variant, STEPS, tuple(latent["samples"].shape))
        texts = self.text(PROMPT), self.text(NEGATIVE)
        return bridge.sample(self.model, latent, *texts, seed=seed, sigmas=sigmas, guidance=GUIDANCE)["samples"]

    def reference(self, seed: int, last_alpha: float = 0.0, **inputs) -> tuple[torch.Tensor, torch.Tensor]:
        """The pipeline's latents [B, C, T, H, W] and frames, from the same noise and words."""
        noise = torch.randn(self.empty()["samples"].shape, generator=torch.manual_seed(seed))
        lead = -noise.shape[2] % self.variant.grid.patch[0]
        noise = torch.cat([bridge.noise_in_front(noise, lead, seed), noise], dim=2).transpose(1, 2)
        self.pipe.scheduler.alphas_cumprod[-1] = last_alpha
        words = dict(prompt=PROMPT, negative_prompt=NEGATIVE, guidance_scale=GUIDANCE, num_inference_steps=STEPS)
        size = dict(width=WIDTH, height=HEIGHT, num_frames=FRAMES)
        latents = self.pipe(**size, **words, **inputs, latents=noise, output_type="latent").frames[:, lead:]
        with torch.no_grad():
            pixels = self.pipe.decode_latents(latents)
        frames = self.pipe.video_processor.postprocess_video(pixels, output_type="pt")
        return latents.transpose(1, 2), frames[0].movedim(1, -1)

    def compare(self, made: torch.Tensor, seed: int, **inputs) -> None:
        """With the published terminal alpha of zero, and with ours in its place: the only thing that differs."""
        published, _ = self.reference(seed, **inputs)
        latents, pixels = self.reference(seed, cogvideox.LAST_ALPHA, **inputs)
        frames = bridge.decode(self.vae, made)
        assert frames.shape == pixels.shape == (FRAMES, HEIGHT, WIDTH, 3)
        assert relative(made, published) <= 1e-4
        assert relative(made, latents) <= 5e-5  # float32, with sigmas up to 4518
        assert relative(frames, pixels) <= 1e-4


@pytest.fixture(scope="module", params=[name for name in tiny_cogvideox.VARIANTS if not name.endswith("I2V")])
def from_text(request, tmp_path_factory):
    return Loaded(tmp_path_factory.mktemp("diffusers") / "cogvideox", request.param)


@pytest.fixture(scope="module", params=[name for name in tiny_cogvideox.VARIANTS if name.endswith("I2V")])
def from_image(request, tmp_path_factory):
    return Loaded(tmp_path_factory.mktemp("diffusers") / "cogvideox", request.param)


def image() -> torch.Tensor:
    return torch.rand(1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(1))


def test_text_to_video(from_text):
    from_text.compare(from_text.sampled(from_text.empty(), seed=7), seed=7)


def test_image_to_video(from_image):
    known = knowns.place(from_image.empty(), from_image.vae.encode(image()), start=0, strength=1.0)
    from_image.compare(from_image.sampled(known, seed=8), seed=8, image=image().movedim(-1, 1))


def test_first_frame_is_kept_by_networks_that_were_not_given_one(from_text):
    known = from_text.vae.encode(image())
    made = from_text.sampled(knowns.place(from_text.empty(), known, start=0, strength=1.0), seed=8)
    assert torch.allclose(made[:, :, :1], known, atol=1e-4)


def test_last_frame_is_kept_by_the_sampler(from_image):
    known = from_image.vae.encode(image())
    made = from_image.sampled(knowns.place(from_image.empty(), known, start=2, strength=1.0), seed=8)
    assert torch.allclose(made[:, :, 2:], known, atol=1e-4)


@pytest.mark.parametrize("text", ["", PROMPT, "a " * 500])
def test_text_equals_the_pipelines(from_image, text):
    ((embeds, options),) = from_image.text(text)
    theirs, _ = from_image.pipe.encode_prompt(text, do_classifier_free_guidance=False)
    assert "attention_mask" not in options
    assert relative(embeds, theirs) <= 1e-5


PUBLISHED = {
    "2B": dict(num_layers=30),
    "5B": dict(num_layers=42, num_attention_heads=48, use_rotary_positional_embeddings=True),
}
PUBLISHED |= {
    "5B I2V": PUBLISHED["5B"] | dict(in_channels=32, use_learned_positional_embeddings=True),
    "1.5 5B": PUBLISHED["5B"] | dict(patch_size_t=2, patch_bias=False, sample_width=300, sample_height=300),
}
PUBLISHED["1.5 5B I2V"] = PUBLISHED["1.5 5B"] | dict(in_channels=32, ofs_embed_dim=512)


@pytest.mark.parametrize("layout", ["diffusers", "SAT"])
@pytest.mark.parametrize("name", list(PUBLISHED))
def test_published_networks_map_key_for_key(name, layout):
    with torch.device("meta"):
        published = CogVideoXTransformer3DModel(**PUBLISHED[name]).state_dict()
    stored = published if layout == "diffusers" else tiny_cogvideox.sat(published)
    config = cogvideox.network_config(shapes_of_file(stored))
    with torch.device("meta"):
        read = CogVideoXTransformer3DModel(**config).state_dict()
    assert shapes(cogvideox.network_state(dict(stored))) == shapes(published) == shapes(read)


def shapes_of_file(state: dict) -> dict:
    """As recognising reads them: under diffusers' names."""
    return {cogvideox.renamed(key, cogvideox.SAT_NAMES): shape for key, shape in shapes(state).items()}


def test_published_autoencoder_maps_key_for_key():
    with torch.device("meta"):
        published = AutoencoderKLCogVideoX().state_dict()
    stored = tiny_cogvideox.sat_vae(published)
    assert not set(stored) & {key for key in published if "blocks" in key}
    assert {cogvideox.vae_name(key): shape for key, shape in shapes(stored).items()} == shapes(published)


@pytest.mark.parametrize("layout,prefix", [("diffusers", ""), ("SAT", "model.diffusion_model.")])
@pytest.mark.parametrize("name", list(tiny_cogvideox.VARIANTS))
def test_single_file_gives_the_same_network(tmp_path, name, layout, prefix):
    expected = tiny_cogvideox.network(name).state_dict()
    if name == "5B I2V":
        expected["patch_embed.pos_embedding"] = torch.zeros(1, 17776, 64)  # of 226 words and 13 x 30 x 45 patches
    state = expected if layout == "diffusers" else tiny_cogvideox.sat(expected)
    model = checkpoint.load_model(tiny_cogvideox.single_file(tmp_path / "cogvideox.safetensors", state, prefix)).model
    assert model.variant.name == f"CogVideoX {name}".replace("2B", "5B")  # a head alone does not tell the 2B
    weights = model.diffusion_model.state_dict()
    assert weights.keys() == expected.keys() and all(torch.equal(weights[key], expected[key]) for key in weights)


def test_autoencoder_from_a_file_has_the_variants_scale(tmp_path, from_image):
    name = "5B" if from_image.variant.grid.patch[0] == 1 else "1.5 5B"
    model = tiny_cogvideox.single_file(tmp_path / "model.safetensors", tiny_cogvideox.network(name).state_dict())
    weights = tiny_cogvideox.vae(name).state_dict()
    for file, state in (("diffusers", weights), ("sat", tiny_cogvideox.sat_vae(weights))):
        vae = checkpoint.load_vae(model, chosen=tiny_cogvideox.single_file(tmp_path / f"{file}.safetensors", state))
        assert torch.equal(vae.encode(image()), from_image.vae.encode(image()))


def test_float8_file_computes_wider(tmp_path):
    state = tiny_cogvideox.network("5B").state_dict()
    path = tiny_cogvideox.single_file(tmp_path / "fp8.safetensors", state, dtype=torch.float8_e4m3fn)
    model = checkpoint.load_model(path, "float8_e4m3fn").model
    network = model.diffusion_model
    assert network.transformer_blocks[0].attn1.to_q.weight.dtype == torch.float8_e4m3fn
    assert network.patch_embed.proj.weight.dtype == model.get_dtype() == torch.float32


def test_fun_checkpoint_is_named(tmp_path):
    fun = tiny_cogvideox.network("5B").state_dict()
    fun["patch_embed.proj.weight"] = torch.zeros(64, 33, 2, 2)
    with pytest.raises(CheckpointError, match="CogVideoX-Fun"):
        cogvideox.recognise(open_checkpoint(tiny_cogvideox.single_file(tmp_path / "fun.safetensors", fun)))


def test_incomplete_file_is_named(tmp_path):
    state = tiny_cogvideox.sat(tiny_cogvideox.network("5B").state_dict())
    early, late = dict(state), dict(state)
    del early["mixins.final_layer.linear.weight"], late["transformer.layers.1.mlp.dense_4h_to_h.weight"]
    for part, missing in ((early, "proj_out.weight"), (late, "ff.net.2.weight")):
        with pytest.raises(CheckpointError, match=missing):
            path = tiny_cogvideox.single_file(tmp_path / "part.safetensors", part, "model.diffusion_model.")
            checkpoint.load_model(path)


@pytest.mark.parametrize("frames,legal", [(0, 1), (9, 9), (12, 9), (45, 49), (49, 49), (81, 81), (84, 81), (86, 89)])
def test_clips_are_as_long_as_the_autoencoder_can_make_them(frames, legal):
    assert cogvideox.GRID.legal_frames(frames) == legal


@pytest.mark.parametrize("latent_frames", [1, 2, 3, 4])
def test_any_number_of_latent_frames_is_sampled_and_decoded(from_text, latent_frames):
    """Lengths from other nodes: what the network's tokens lack is put in front, the clip stays as long as it was."""
    shape = (1, 16, latent_frames, HEIGHT // 8, WIDTH // 8)
    made = from_text.sampled({"samples": torch.zeros(shape)}, seed=3)
    assert made.shape == shape
    assert len(bridge.decode(from_text.vae, made)) == 4 * latent_frames - 3


def test_other_sizes_are_refused_where_places_are_learned(from_image):
    if from_image.variant.grid.patch[0] == 1:
        with pytest.raises(ValueError, match="makes no other size"):
            from_image.sampled({"samples": torch.zeros(1, 16, 3, 4, 4)}, seed=0)
