"""CogVideoX's parts and files; whole clips are compared with diffusers' pipelines in test_parity.py."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import reference
import tiny_cogvideox
import torch
from atelier.models.bridge.pairing import PIXEL_SEED, pair
from atelier.models.bridge.vae import decode
from atelier.models.families.cogvideox import autoencoder, layouts
from atelier.models.families.cogvideox import family as cogvideox
from atelier.models.loading import load
from atelier.models.loading.identify import open_model
from atelier.models.timeline import placing
from atelier.models.weights.checkpoint import open_checkpoint
from atelier.models.weights.errors import CheckpointError
from atelier.models.weights.key_names import renamed
from benchmarks.layout import in_sat_layout
from diffusers import AutoencoderKLCogVideoX, CogVideoXImageToVideoPipeline, CogVideoXTransformer3DModel
from reference import PROMPT, relative
from tiny_cogvideox import HEIGHT, WIDTH


def shapes(state: dict) -> dict:
    return {key: tuple(weight.shape) for key, weight in state.items()}


@pytest.fixture(scope="module", params=["2B", "5B", "1.5 5B"])
def from_text(request, tmp_path_factory):
    return reference.CogVideoX(request.param, tmp_path_factory.mktemp("diffusers"))


@pytest.fixture(scope="module", params=["5B I2V", "1.5 5B I2V"])
def from_image(request, tmp_path_factory):
    return reference.CogVideoX(request.param, tmp_path_factory.mktemp("diffusers"))


def test_first_frame_is_kept_by_networks_that_were_not_given_one(from_text):
    known = from_text.folder.vae.encode(from_text.images(1))
    made = from_text.folder.sampled(placing.place(from_text.empty(), known, start=0, strength=1.0), seed=8)
    assert torch.allclose(made[:, :, :1], known, atol=1e-4)


def test_last_frame_is_kept_by_the_sampler(from_image):
    known = from_image.folder.vae.encode(from_image.images(1))
    made = from_image.folder.sampled(placing.place(from_image.empty(), known, start=2, strength=1.0), seed=8)
    assert torch.allclose(made[:, :, 2:], known, atol=1e-4)


@pytest.mark.parametrize("text", ["", PROMPT, "a " * 500])
def test_text_equals_the_pipelines(from_image, text):
    ((embeds, options),) = from_image.folder.conditioning(text)
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
    stored = published if layout == "diffusers" else in_sat_layout(published)
    config = cogvideox.network_config(shapes_of_file(stored))
    with torch.device("meta"):
        read = CogVideoXTransformer3DModel(**config).state_dict()
    assert shapes(layouts.network_state(dict(stored))) == shapes(published) == shapes(read)


def shapes_of_file(state: dict) -> dict:
    """Shapes under diffusers' names, as `recognise` reads them."""
    return {renamed(key, layouts.SAT_NAMES): shape for key, shape in shapes(state).items()}


def test_published_autoencoder_maps_key_for_key():
    with torch.device("meta"):
        published = AutoencoderKLCogVideoX().state_dict()
    stored = tiny_cogvideox.sat_vae(published)
    assert not set(stored) & {key for key in published if "blocks" in key}
    assert {layouts.vae_name(key): shape for key, shape in shapes(stored).items()} == shapes(published)


@pytest.mark.parametrize("layout,prefix", [("diffusers", ""), ("SAT", ""), ("SAT", "model.diffusion_model.")])
@pytest.mark.parametrize("name", list(tiny_cogvideox.VARIANTS))
def test_single_file_gives_the_same_network(tmp_path, name, layout, prefix):
    expected = tiny_cogvideox.network(name).state_dict()
    if name == "5B I2V":
        expected["patch_embed.pos_embedding"] = torch.zeros(1, 17776, 64)  # of 226 words and 13 x 30 x 45 patches
    state = expected if layout == "diffusers" else in_sat_layout(expected)
    model = load.load_model(
        open_model(tiny_cogvideox.single_file(tmp_path / "cogvideox.safetensors", state, prefix))
    ).model
    # One head does not identify the 2B.
    assert model.variant.name == f"CogVideoX {name}".replace("2B", "5B").replace(" Fun", "-Fun")
    assert model.variant.text.tokens == (224 if "1.5" in name else 226)
    weights = model.diffusion_model.state_dict()
    assert weights.keys() == expected.keys() and all(torch.equal(weights[key], expected[key]) for key in weights)


def test_autoencoder_from_a_file_has_the_variants_scale(tmp_path, from_image):
    name = "5B" if from_image.grid.patch[0] == 1 else "1.5 5B"
    model = tiny_cogvideox.single_file(tmp_path / "model.safetensors", tiny_cogvideox.network(name).state_dict())
    weights = tiny_cogvideox.vae(name).state_dict()
    for file, state in (("diffusers", weights), ("sat", tiny_cogvideox.sat_vae(weights))):
        vae = load.load_vae(
            open_model(model), chosen=tiny_cogvideox.single_file(tmp_path / f"{file}.safetensors", state)
        )
        assert torch.equal(*(one.encode(from_image.images(1)) for one in (vae, from_image.folder.vae)))


def test_float8_file_computes_wider(tmp_path):
    state = tiny_cogvideox.network("5B").state_dict()
    path = tiny_cogvideox.single_file(tmp_path / "fp8.safetensors", state, dtype=torch.float8_e4m3fn)
    model = load.load_model(open_model(path), "float8_e4m3fn").model
    network = model.diffusion_model
    assert network.transformer_blocks[0].attn1.to_q.weight.dtype == torch.float8_e4m3fn
    assert network.patch_embed.proj.weight.dtype == model.get_dtype() == torch.float32


def test_other_fine_tunes_are_named(tmp_path):
    other = tiny_cogvideox.network("5B").state_dict()
    other["patch_embed.proj.weight"] = torch.zeros(64, 21, 2, 2)
    with pytest.raises(CheckpointError, match="takes 5 channels beside"):
        cogvideox.recognise(open_checkpoint(tiny_cogvideox.single_file(tmp_path / "other.safetensors", other)))


def inpainter(path: Path, name: str, **config: bool) -> reference.Loaded:
    """Fun InP, loaded from a folder. config: entries that only its authors' training reads."""
    path = tiny_cogvideox.folder(path, name)
    file = path / "transformer" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | config))
    model, vae = load.load_model(open_model(path)), load.load_vae(open_model(path))
    return reference.Loaded(pair(model, vae), load.load_clip(open_model(path)), vae)


@pytest.fixture(scope="module", params=[False, True], ids=["V1.0", "V1.1"])
def inpainting(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("diffusers") / "inp"
    return inpainter(path, "Fun 5B InP", add_noise_in_inpaint_model=request.param)


def published(
    vae: AutoencoderKLCogVideoX, video: torch.Tensor, holes: torch.Tensor, noise: torch.Tensor
) -> torch.Tensor:
    """What aigc-apps' inpainting pipeline puts beside the noisy clip, by their description of it.

    video [1, 3, F, H, W] in -1..1 and holes [1, 1, F, H, W] (1 = to be made) -> [1, 1 + C, T, h, w]: where the clip is
    known, its first frame and the others resized each by themselves, then the clip with its holes black; all scaled.
    noise, like video: what V1.1 adds to the clip where it is not black (add_noise_to_reference_video).
    """
    scale = vae.config.scaling_factor
    shown = torch.where(holes > 0.5, -1.0, video)
    shown = torch.where(shown == -1, shown, shown + noise)
    latents = vae.encode(shown).latent_dist.mode() * scale
    (frames, *size), known = latents.shape[2:], 1 - holes
    parts = ((known[:, :, :1], 1), (known[:, :, 1:], frames - 1))
    resized = [torch.nn.functional.interpolate(part, (count, *size), mode="trilinear") for part, count in parts]
    return torch.cat([torch.cat(resized, dim=2) * scale, latents], dim=1)


FIRST, LAST, LEFT = (slice(0, 1), slice(None)), (slice(2, 3), slice(None)), (slice(None), slice(0, 4))


@pytest.mark.parametrize("known", [[FIRST], [LAST], [FIRST, LAST], [LEFT]], ids=["first", "last", "both", "region"])
def test_inpainting_network_sees_what_its_authors_pipeline_shows_it(inpainting, known):
    """It reads the encoding of the whole clip with holes, which differs from that of the known frames alone."""
    clip = torch.rand(9, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(5))
    latents, mask = inpainting.vae.encode(clip), torch.ones(1, 1, 3, 6, 8)
    for time, columns in known:
        mask[:, :, time, :, columns] = 0.0
    seen = []
    hook = inpainting.model.model.diffusion_model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    inpainting.sampled({"samples": latents, "noise_mask": mask}, seed=4)
    hook.remove()
    video = decode(inpainting.vae, latents).movedim(-1, 0)[None] * 2 - 1
    at = torch.tensor([0, 1, 1, 1, 1, 2, 2, 2, 2])
    holes = mask[:, :, at].repeat_interleave(8, 3).repeat_interleave(8, 4)
    draws = torch.Generator().manual_seed(4 ^ PIXEL_SEED)
    noise = torch.randn(clip.shape, generator=draws).movedim(-1, 0)[None]
    strength = inpainting.model.model.variant.known_frames.noise
    assert strength in (0.0, 0.0563)
    theirs = published(inpainting.vae.first_stage_model.autoencoder.vae, video, holes, strength * noise)
    assert all(relative(one[:, 16:], theirs.expand(len(one), -1, -1, -1, -1)) <= 1e-5 for one in seen)
    alone = inpainting.model.model.variant.known_frames.channels(latents, mask)
    assert relative(alone[:, 1:], theirs[:, 1:]) > 0.05


def test_inpainting_network_sees_nothing_where_nothing_is_known(inpainting):
    seen = []
    hook = inpainting.model.model.diffusion_model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for more in ({}, {"noise_mask": torch.ones(1, 1, 3, 6, 8)}):
        inpainting.sampled({"samples": torch.randn(1, 16, 3, 6, 8), **more}, seed=4)
    hook.remove()
    assert len(seen) > 2 and not any(one[:, 16:].any() for one in seen)


def test_inpainting_variant(inpainting):
    variant = inpainting.model.model.variant
    assert variant.name == "CogVideoX-Fun 5B InP" and variant.recipe.width == 672
    assert inpainting.model.clone().get_attachment("atelier_in_one_go") is not None


def test_fun_v15_is_shown_whole_tokens_which_end_in_a_hole(tmp_path):
    """Its authors' scripts pad to an even count of latent frames, as in training: 81 frames become 85."""
    fun = inpainter(tmp_path / "later", "Fun 1.5 5B InP")
    variant, seen = fun.model.model.variant, []
    assert variant.name == "CogVideoX-Fun 1.5 5B InP" and variant.recipe.frames == 85
    lengths = {frames: variant.grid.legal_frames(frames) for frames in (1, 13, 77, 81, 85, 88)}
    assert lengths == {1: 5, 13: 13, 77: 77, 81: 85, 85: 85, 88: 85}
    hook = fun.model.model.diffusion_model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    made = {}
    for count in (3, 4):
        mask = torch.ones(1, 1, count, 6, 8)
        mask[:, :, 0] = 0.0
        latents = fun.vae.encode(torch.rand(9, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(5)))
        latents = torch.cat([latents, torch.zeros_like(latents[:, :, :1])], dim=2)[:, :, :count]
        made[count] = fun.sampled({"samples": latents, "noise_mask": mask}, seed=4)
        assert made[count].shape[2] == count and len(decode(fun.vae, made[count])) == 4 * count - 3
    hook.remove()
    odd, even = seen[0], seen[-1]
    assert odd.shape[2] == even.shape[2] == 4
    assert odd[:, 16, 0].eq(variant.known_frames.scale).all() and not odd[:, 16, 1:].any()
    assert relative(odd[:, 16:], even[:, 16:]) <= 1e-5  # the added frame is to be generated


def test_inpainting_network_fills_any_hole(inpainting):
    latent = {"samples": torch.randn(1, 16, 3, 6, 8, generator=torch.Generator().manual_seed(6))}
    free = inpainting.sampled(latent, seed=4)
    for hole in ((slice(1, 3), slice(None)), (slice(None), slice(0, 3))):
        mask = torch.zeros(1, 1, 3, 6, 8)
        mask[:, :, hole[0], hole[1]] = 1.0
        made = inpainting.sampled({**latent, "noise_mask": mask}, seed=4)
        assert made.isfinite().all() and relative(made, free) > 1e-3


def test_incomplete_file_is_named(tmp_path):
    state = in_sat_layout(tiny_cogvideox.network("5B").state_dict())
    early, late = dict(state), dict(state)
    del early["mixins.final_layer.linear.weight"], late["transformer.layers.1.mlp.dense_4h_to_h.weight"]
    for part, missing in ((early, "proj_out.weight"), (late, "ff.net.2.weight")):
        with pytest.raises(CheckpointError, match=missing):
            path = tiny_cogvideox.single_file(tmp_path / "part.safetensors", part, "model.diffusion_model.")
            load.load_model(open_model(path))


@pytest.mark.parametrize("frames,legal", [(0, 1), (9, 9), (12, 9), (45, 49), (49, 49), (81, 81), (84, 81), (86, 89)])
def test_clips_are_as_long_as_the_autoencoder_can_make_them(frames, legal):
    assert autoencoder.GRID.legal_frames(frames) == legal


@pytest.mark.parametrize("latent_frames", [1, 2, 3, 4])
def test_any_number_of_latent_frames_is_sampled_and_decoded(from_text, latent_frames):
    """For lengths from other nodes, frames are added in front to fill the tokens; the clip keeps its length."""
    shape = (1, 16, latent_frames, HEIGHT // 8, WIDTH // 8)
    made = from_text.folder.sampled({"samples": torch.zeros(shape)}, seed=3)
    assert made.shape == shape
    assert len(decode(from_text.folder.vae, made)) == 4 * latent_frames - 3


def test_other_sizes_are_refused_where_places_are_learned(from_image):
    if from_image.grid.patch[0] == 1:
        with pytest.raises(ValueError, match="makes no other size"):
            from_image.folder.sampled({"samples": torch.zeros(1, 16, 3, 4, 4)}, seed=0)


def test_nimvideos_image_to_video_follows_a_still_clip(tmp_path):
    """Its authors encode a clip that repeats the image, and the network reads it like a Fun Control clip."""
    control = reference.CogVideoX("Fun 2B Control", tmp_path / "control")
    folder = control.folder
    renamed = tmp_path / "cogvideox-2b-img2vid"
    (control.root / "folder").rename(renamed)
    opened = open_model(renamed)
    vae, model = load.load_vae(opened), load.load_model(opened, "float32")
    assert model.model.variant.name == "CogVideoX 2B img2vid" and not model.model.variant.notes
    ours = reference.Loaded(pair(model, vae), folder.clip, vae)
    known = vae.encode(control.images(1))
    made = ours.sampled(placing.place(control.empty(), known, start=0, strength=1.0), seed=8)
    held = decode(vae, known).expand(control.size[2], -1, -1, -1)
    # Fun's positions are stretched, those of NimVideo's network are computed, as CogVideoX 2B's are.
    del folder.model.model.diffusion_model.patch_embed._get_positional_embeddings
    expected = folder.sampled(control.empty(), seed=8, control_latent=vae.encode(held))
    assert relative(made, expected) <= 1e-5
    assert relative(made, folder.sampled(control.empty(), seed=8)) > 1e-3


class Interpolation(CogVideoXImageToVideoPipeline):
    """The pipeline of github.com/feizc/CogvideX-Interpolation (`prepare_latents` of its pipeline.py): beside the noisy
    clip go the first and the last picture, each encoded by itself, and zeros between them."""

    last: torch.Tensor

    def prepare_latents(self, image, *others):
        latents, given = super().prepare_latents(image, *others)
        last = self.vae.encode(self.last[:, :, None]).latent_dist.mode() * self.vae.config.scaling_factor
        given[:, -1:] = last.transpose(1, 2)
        return latents, given


def test_interpolation_is_its_authors_pipeline(tmp_path):
    """Place Frames puts a picture at the end as the four frames of a latent frame; the network gets it as a picture."""
    case = reference.CogVideoX("5B I2V", tmp_path)
    folder = case.folder
    opened = open_model((tmp_path / "folder").rename(tmp_path / "CogvideoX-Interpolation"))
    vae, model = load.load_vae(opened), load.load_model(opened, "float32")
    ours = reference.Loaded(pair(model, vae), folder.clip, vae)
    picture, end = case.images(2)[1:], case.empty()["samples"].shape[2] - 1
    known = vae.encode(picture[placing.clip_for(1, end, case.grid)])[:, :, 1:]
    latent = placing.place(case.empty(), vae.encode(case.images(1)), start=0, strength=1.0)
    made = ours.sampled(placing.place(latent, known, start=end, strength=1.0), seed=8)
    case.pipe = Interpolation(**case.pipe.components)
    case.pipe.last = decode(vae, known.expand(-1, -1, 3, -1, -1))[-1:].movedim(-1, 1) * 2 - 1
    theirs, _ = case.ask(reference.I2V)
    assert relative(made, theirs) <= case.latents
    for other in (
        ours.sampled(latent, seed=8),
        folder.sampled(placing.place(latent, known, start=end, strength=1.0), 8),
    ):
        assert relative(other, theirs) > 10 * case.latents


@pytest.mark.parametrize("count", [1, 3, 4])
def test_fun_decodes_as_its_authors_do(inpainting, count):
    latents = torch.randn(1, 16, count, 6, 8, generator=torch.Generator().manual_seed(2))
    coder = tiny_cogvideox.vae("Fun 5B InP")
    theirs = reference.fun_decoded(coder, latents)[0].movedim(0, -1) / 2 + 0.5
    assert relative(decode(inpainting.vae, latents), theirs.clamp(0, 1)) <= 1e-5
    if count == 3:
        with torch.no_grad():
            diffusers = coder.decode(latents / coder.config.scaling_factor).sample
        assert relative(diffusers[0].movedim(0, -1) / 2 + 0.5, theirs) > 1e-3


def test_interpolation_is_given_both_ends(tmp_path):
    path = tiny_cogvideox.folder(tmp_path / "CogvideoX-Interpolation", "5B I2V")
    variant = cogvideox.recognise(open_checkpoint(path))
    assert variant.name == "CogVideoX 5B Interpolation"
    latent, mask = torch.randn(1, 16, 4, 2, 2), torch.ones(1, 1, 4, 1, 1).expand(1, 16, 4, 2, 2).clone()
    mask[:, :, [0, -1]] = 0
    given = variant.known_frames.channels(latent, mask)
    assert torch.equal(given[:, :, [0, -1]], latent[:, :, [0, -1]]) and not given[:, :, 1:-1].any()
    assert variant.known_frames.enforced(mask) is None
    mask[:, :, 1] = 0
    assert variant.known_frames.enforced(mask)[0, 0, :, 0, 0].tolist() == [1, 0, 1, 1]
    (path / "model_index.json").write_text('{"_class_name": "CogVideoXInterpolationPipeline"}')
    assert cogvideox.recognise(open_checkpoint(path.rename(tmp_path / "renamed"))).name.endswith("Interpolation")


def test_what_a_network_is_given_is_said_where_its_file_does_not_tell(tmp_path):
    state = tiny_cogvideox.network("Fun 5B Control").state_dict()
    for name, notes in (("some_model", 1), ("CogVideoX-Fun-V1.1-5b-Pose", 0)):
        path = tiny_cogvideox.single_file(tmp_path / f"{name}.safetensors", state)
        variant = cogvideox.recognise(open_checkpoint(path))
        assert variant.name == "CogVideoX-Fun 5B Control" and len(variant.notes) == notes
