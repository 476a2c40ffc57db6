"""Fetches files of a repository on the Hugging Face Hub.

`huggingface_hub` does it: its cache, its token and its offline mode are those
of other programs on the machine. The extra `hub` installs it.
"""

import re
from pathlib import Path
from typing import Any

from keras_nfnets.extras import require

SCHEME = "hf://"
_ADDRESS = re.compile(r"hf://([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?")


def parse(address: str) -> tuple[str, str | None]:
    """Returns the repository and the revision of an address.

    Args:
        address: String, `"hf://OWNER/NAME"` or `"hf://OWNER/NAME@REVISION"`.

    Returns:
        A tuple of `"OWNER/NAME"` and the revision, `None` for the newest.

    Raises:
        ValueError: If the address has another form.

    Example:

    >>> parse("hf://timm/nfnet_l0.ra2_in1k@main")
    ('timm/nfnet_l0.ra2_in1k', 'main')
    """
    found = _ADDRESS.fullmatch(address)
    if found is None:
        raise ValueError(
            "the address of a repository must be hf://OWNER/NAME or "
            f"hf://OWNER/NAME@REVISION. Received: {address!r}"
        )
    return found[1], found[2]


def fetch_file(address: str, file: str) -> Path:
    """Returns the path of a repository's file, downloaded if needed.

    `huggingface_hub` resumes a download that broke off: versions before 1.0 at
    the next call, later ones at once.

    Args:
        address: String, as for `parse`.
        file: String, the file's name in the repository.

    Raises:
        ImportError: If `huggingface_hub` is not installed.
        ValueError: If the address has another form.
        FileNotFoundError: If the repository has no such file.
        ConnectionError: If the file cannot be fetched, or is not in the cache
            in offline mode.

    Example:

    >>> fetch_file("hf://timm/nfnet_l0.ra2_in1k", "config.json").name
    'config.json'
    """
    repository, revision = parse(address)
    hub = require("huggingface_hub", "hub")
    try:
        path = hub.hf_hub_download(repository, file, revision=revision)
        return Path(path)
    except Exception as error:  # of its HTTP client too, which may be another
        if _is_absent(error):
            raise FileNotFoundError(
                f"The repository {address!r} has no file {file!r}"
            ) from None
        problem = error
    raise ConnectionError(
        f"{file!r} of {address!r} could not be fetched: "
        f"{_first_sentence(problem)}. Offline (HF_HUB_OFFLINE=1) the file must "
        "be in the cache. A private or gated repository needs a token "
        "(HF_TOKEN). Without a network, put the files of the repository into "
        "a folder by other means, and pass that"
    ) from problem


def has_file(address: str, file: str) -> bool:
    """Tells whether a repository has a file, without fetching it.

    Args:
        address: String, as for `parse`.
        file: String, the file's name in the repository.

    Returns:
        Boolean; `False` too where the hub does not answer.
    """
    repository, revision = parse(address)
    hub = require("huggingface_hub", "hub")
    try:
        return hub.file_exists(repository, file, revision=revision)
    except Exception:  # As above. This only adds to another error's message.
        return False


def _is_absent(error: Any) -> bool:
    """Tells whether the hub answered that there is no such file."""
    from_hub = require("huggingface_hub.utils", "hub")
    # Older versions derive the second, a lack of network, from the first.
    return isinstance(error, from_hub.EntryNotFoundError) and not isinstance(
        error, from_hub.LocalEntryNotFoundError
    )


def _first_sentence(error):
    """Returns the start of an error's message, which may fill a page."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.split(r"\. (?=[A-Z])", text)[0].rstrip(".")
