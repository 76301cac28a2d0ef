"""`modpm trust`: saying whose signatures are trusted."""

from modpm.registry.signing.trusted_keys import TrustFile
from modpm.registry.signing.trusted_keys import distrust as remove
from modpm.registry.signing.trusted_keys import trust as add

__all__ = ["add", "list", "remove"]


def list() -> TrustFile:  # noqa: A001 -- the verb's name
    """Return the keys that are trusted, and with what.

    Raises:
        ModpmError: `invalid-trust`.
    """
    return TrustFile.of_user()
