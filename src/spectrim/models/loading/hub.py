"""Fetching a model's files from the Hugging Face hub, once; later they are at hand."""

from __future__ import annotations

import re
from pathlib import Path

from ...common.errors import SpectrimError

CONFIGS = ["config.json", "preprocessor_config.json"]


def is_id(name: str) -> bool:
    """Whether a text has the form "owner/name"."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", name) is not None


def fetch(name: str) -> Path:
    """The folder of a hub model's config and weights.

    Raises:
        SpectrimError: no such repository, no access, or no network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(name, allow_patterns=[*CONFIGS, "*.safetensors"]))
        if not list(folder.glob("*.safetensors")):
            # Most models bear both kinds; one is enough.
            folder = Path(snapshot_download(name, allow_patterns=[*CONFIGS, "pytorch_model.bin"]))
        return folder
    except RepositoryNotFoundError as error:
        raise SpectrimError(
            f"{name!r} is neither a folder or file here nor a model on the hub that you may read. "
            "Look at its spelling; private and gated models need `hf auth login`."
        ) from error
    except Exception as error:  # the errors of its network library change with its version
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise SpectrimError(
            f"{name!r} is no folder or file here, and could not be fetched from the hub: "
            f"{lines[0].rstrip('.')}. Go online (HF_HUB_OFFLINE must not be set), or download it "
            "elsewhere and name its folder."
        ) from error
