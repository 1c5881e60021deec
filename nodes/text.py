"""Encode Video Prompt: a prompt and its style into CONDITIONING."""

from __future__ import annotations

from comfy_api.latest import io

from ..models.bridge.text_encoder import encode_text, style_of
from ..prompts.styles import MODEL_STYLE, styled, styles
from .inputs import check, found_by
from .notice import show


class EncodeVideoPrompt(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="AtelierEncodeVideoPrompt",
            display_name="Encode Video Prompt",
            category="Atelier",
            **found_by("clip text encode", "text encode", "negative prompt", essential=True),
            description="Encodes the prompt and the negative prompt in the way the loaded model was trained.",
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP of Load Video Model."),
                io.String.Input(
                    "prompt",
                    multiline=True,
                    dynamic_prompts=True,
                    default="a red circle moving left",
                    tooltip="What the video should show. (word:1.2) gives a word more weight.",
                ),
                io.String.Input(
                    "negative_prompt",
                    multiline=True,
                    default="",
                    tooltip="What the video should not show. Only used if guidance is above 1.",
                ),
                io.Combo.Input(
                    "style",
                    options=list(styles()),
                    default=MODEL_STYLE,
                    tooltip="Words added to the prompt. 'the model's own': those that its authors add to every prompt, "
                    "if any (Pyramid Flow). Add your own styles in atelier_styles.json in ComfyUI's user folder.",
                ),
            ],
            outputs=[io.Conditioning.Output(display_name="positive"), io.Conditioning.Output(display_name="negative")],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, style=None) -> bool | str:
        return check(cls, style=style)

    @classmethod
    def execute(cls, clip, prompt: str, negative_prompt: str, style: str) -> io.NodeOutput:
        own = style_of(clip)
        positive_text, negative_text = styled(prompt, negative_prompt, style, own)
        positive, unread = encode_text(clip, positive_text)
        negative, _ = encode_text(clip, negative_text)
        notes = [f"with its authors' words: {own}"] if style == MODEL_STYLE and own else []
        if unread:
            notes.append(
                f"The prompt is longer than the model reads: its last {unread} tokens (about {unread * 3 // 4} words) "
                "are cut off."
            )
        if notes:
            show(cls, "\n".join(notes))
        return io.NodeOutput(positive, negative)
