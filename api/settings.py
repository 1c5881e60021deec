"""The owner's settings: user/atelier/api.json. Without the file, the defaults below apply."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import folder_paths
from pydantic import BaseModel, ConfigDict, Field, field_validator

from .errors import ApiError, summary

DATED = re.compile(r"-\d{4}-\d{2}-\d{2}$")
"""The end of a dated model name: sora-2-2025-10-06 is sora-2."""


class LocalModel(BaseModel):
    """A choice of Load Video Model, its default size and length, and its limits."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(description="the model's name in Load Video Model's list")
    size: str | None = Field(None, pattern=r"^[1-9]\d{0,4}x[1-9]\d{0,4}$", description="used if a request names none")
    seconds: float | None = Field(None, gt=0, description="used if a request names none")
    max_pixels: int | None = Field(None, ge=1, description="width x height; a larger request is scaled down")
    max_seconds: float | None = Field(None, gt=0)
    max_frames: int | None = Field(None, ge=1)


POCKET = LocalModel(
    model="pocket (built in)", size="128x128", seconds=2, max_pixels=128 * 128, max_seconds=3.2, max_frames=25
)
BUILT_IN = {"sora-2": POCKET, "sora-2-pro": POCKET}


class ContentCredentials(BaseModel):
    """The owner's C2PA certificate."""

    model_config = ConfigDict(extra="forbid")
    certificate: str = Field(description="PEM file: the certificate, then the chain that issued it")
    key: str = Field(description="PEM file: its private key, without a password")
    timestamp_url: str | None = Field(None, pattern="^https?://", description="a time stamp authority (RFC 3161)")


class FarmSettings(BaseModel):
    """The farm whose head this ComfyUI is."""

    model_config = ConfigDict(extra="forbid")
    address: str = Field(pattern=r"^[\w.:\[\]-]+:\d{1,5}$", description="host:port of the farm's Ray on this machine")
    token: str | None = Field(None, description="file of the farm's token; if unset: user/atelier/farm/token")

    def token_file(self) -> Path:
        return Path(self.token).expanduser() if self.token else folder() / "farm" / "token"


class Settings(BaseModel):
    """The keys of api.json."""

    model_config = ConfigDict(extra="forbid")
    api_key: str | None = Field(None, min_length=1, description="clients send it as Authorization: Bearer KEY")
    models: dict[str, LocalModel] = Field(default_factory=dict, description="name in the API -> local model")
    remote_images: bool = Field(False, description="whether image_url may be http(s)")
    hosts: list[str] = Field(default_factory=list, description="further host names of this server")
    behind_proxy: bool = Field(False, description="trust X-Forwarded-Host and X-Forwarded-Proto")
    allow_downloads: bool | None = Field(
        None, description="whether models may be fetched and removed; if unset: only if ComfyUI listens on loopback"
    )
    max_upload_mb: float = Field(512, gt=0)
    max_waiting: int = Field(1000, ge=1, description="jobs that may be queued or running at once")
    quota_gb: float | None = Field(None, gt=0, description="finished videos, references and characters together")
    expire_days: float | None = Field(None, gt=0, description="days after which a finished video is deleted")

    content_credentials: ContentCredentials | None = Field(None, description="sign every finished video")
    database: str | None = Field(
        None,
        pattern=r"^postgresql(\+psycopg)?://",
        description="where jobs are stored, as postgresql+psycopg://user:password@host/name; if unset: videos.db",
    )
    files: str | None = Field(
        None,
        pattern=r"^[a-z][a-z0-9+.-]*://.",
        description="where finished videos are kept, as s3://bucket/prefix; if unset: output/atelier/videos",
    )
    files_options: dict[str, Any] = Field(default_factory=dict, description="fsspec's options for `files`")
    farm: FarmSettings | None = Field(None, description="run graphs on the farm's workers, not on this machine")

    @field_validator("database")
    @classmethod
    def _readable(cls, url: str | None) -> str | None:
        if url is not None:
            from sqlalchemy import exc, make_url

            try:
                make_url(url)
            except (exc.ArgumentError, ValueError):
                raise ValueError("it is not a URL as postgresql+psycopg://user:password@host/name") from None
        return url

    @property
    def max_upload_bytes(self) -> int:
        return int(self.max_upload_mb * 1e6)

    def names(self) -> list[str]:
        """OpenAI's and the owner's names of models."""
        return list(BUILT_IN | self.models)

    def local(self, name: str) -> LocalModel | None:
        """The local model for a name of OpenAI's or of the owner's, dated or not; None for other names."""
        known = BUILT_IN | self.models
        return known.get(name) or known.get(DATED.sub("", name))


def folder() -> Path:
    """The API's folder: settings, job store, characters, the artist's graphs."""
    return Path(folder_paths.get_user_directory()) / "atelier"


def downloads_allowed() -> bool:
    """Whether this server may fetch models: `allow_downloads`, or if that is unset, whether it listens on loopback."""
    from comfy.cli_args import args

    allowed = current().allow_downloads
    loopback = all(name.strip() in ("127.0.0.1", "localhost", "::1") for name in args.listen.split(","))
    return loopback if allowed is None else allowed


def check_downloads() -> None:
    """Raises ApiError 403 if this server may not fetch models."""
    if not downloads_allowed():
        raise ApiError(
            403,
            "downloads_not_allowed",
            "This server does not fetch or remove models, because other machines can reach it. Its owner can allow it "
            "with 'allow_downloads': true in user/atelier/api.json.",
        )


class SettingsError(Exception):
    """api.json cannot be read. Every request is then refused, because the file may hold a key."""


_read: tuple[int, Settings] | None = None


def current() -> Settings:
    """The settings, read again when the file has changed. ATELIER_API_KEY in the environment overrides the file's,
    ATELIER_FARM the farm's address and ATELIER_FARM_TOKEN its token's file."""
    global _read
    try:
        changed, text = _content(folder() / "api.json")
        if _read is None or _read[0] != changed:
            _read = changed, Settings.model_validate(json.loads(text))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"api.json cannot be used: {summary(error)}") from None
    own, key, farm = _read[1], os.environ.get("ATELIER_API_KEY"), os.environ.get("ATELIER_FARM")
    more = {"api_key": key} if key else {}
    if farm:
        token = os.environ.get("ATELIER_FARM_TOKEN") or (own.farm.token if own.farm else None)
        more["farm"] = FarmSettings(address=farm, token=token)
    return own.model_copy(update=more) if more else own


def _content(file: Path) -> tuple[int, str]:
    """When the file was last changed, in ns, and its text; 0 and an empty object if there is none.

    Both are of the opened file, so it does not matter if an editor replaces or removes it meanwhile.
    """
    try:
        with file.open(encoding="utf-8") as opened:
            return os.fstat(opened.fileno()).st_mtime_ns, opened.read()
    except (FileNotFoundError, NotADirectoryError):
        return 0, "{}"
