"""Credentials files (`.creds`): the JWT of a user, and the seed that signs for it."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from .errors import InvalidOptionError

__all__ = ["Credentials", "parse_credentials"]

_BLOCK: Final = r"---[ \t]*BEGIN[ \t]+{name}[ \t]*---+\s*([A-Za-z0-9+/=._-]+?)\s*---+[ \t]*END"
_JWT: Final = re.compile(_BLOCK.format(name="NATS USER JWT"))
_SEED: Final = re.compile(_BLOCK.format(name="USER NKEY SEED"))


class Credentials(NamedTuple):
    """The contents of a credentials file. Its repr shows neither."""

    jwt: str
    seed: str

    def __repr__(self) -> str:
        return "Credentials(…)"


def parse_credentials(text: str) -> Credentials:
    """Read the text of a credentials file.

    Raises:
        InvalidOptionError: a part is missing. The error shows nothing of the text.
    """
    jwt, seed = _JWT.search(text), _SEED.search(text)
    if jwt is None or seed is None:
        missing = "NATS USER JWT" if jwt is None else "USER NKEY SEED"
        raise InvalidOptionError(
            f"the credentials contain no '{missing}' block; expected a file as written by "
            "`nsc generate creds`"
        )
    return Credentials(jwt[1], seed[1])
