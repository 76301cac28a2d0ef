"""`modpm key`: making keys that sign releases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from modpm.core.system.home import home
from modpm.core.system.whole_files import explained
from modpm.registry.signing.keys import new_key, public_key_path

if TYPE_CHECKING:
    import os


class NewKey(NamedTuple):
    """A key and its files.

    Attributes:
        key_id: The id of the key.
        private_key: The file for its owner alone.
        public_key: The file for those who install what it signs.
    """

    key_id: str
    private_key: Path
    public_key: Path


def new(output: str | os.PathLike[str] | None = None, passphrase: str | None = None) -> NewKey:
    """Make a key that signs releases (ECDSA, secp256r1).

    Args:
        output: The file for the private key; by default `$MODPM_HOME/keys/signing.pem`. The
            public key gets its name with the ending `.pub`.
        passphrase: What the private key is encrypted with; None not to encrypt it.

    Raises:
        ModpmError: `key-exists`; `usage`, if the file has the ending of public keys;
            `permission-denied`, `disk-full`.
    """
    path = (home() / "keys" / "signing.pem" if output is None else Path(output)).absolute()
    with explained("write the key"):
        public = new_key(path, passphrase)
    return NewKey(public.key_id, path, public_key_path(path))
