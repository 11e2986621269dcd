"""Secrets in the texts of URLs: kept out of what is shown."""

from __future__ import annotations

import re

SECRET = re.compile(  # in the text of a URL: a password, or the value of a parameter that is named like a secret
    r"(?<=://)([^\s/?#@:]*:)[^\s/?#@]*(?=@)"
    # The name is looked at once and never given back (`*+`): a record of thousands of question marks takes no time.
    # "code" and "sas" are keys to functions and containers of Azure's, and parts of harmless names.
    r"|([?&;](?=[^\s=?&;]*(?:sig|token|secret|passw|pwd|auth|credential|key|jwt|session)|(?:code|sas|pass|pw)=)"
    r"[^\s=?&;]*+=)"
    r"[^\s&;#'\"<>]*[^\s&;#'\"<>,.:]",
    re.IGNORECASE,
)


def without_secrets(text: str) -> str:
    """Give a text as it may be shown: passwords and tokens in URLs are stars."""
    return SECRET.sub(lambda found: f"{found[1] or found[2]}***", text)
