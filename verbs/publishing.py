"""The verb `publish`: distributions become releases, with example images where some are given."""

from __future__ import annotations

import io
import math
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from modpm.core.errors import ModpmError
from modpm.core.formats.distribution import SIGNATURE_FILE, write_distribution
from modpm.core.formats.names import ModuleName
from modpm.core.formats.release_files import CARD_FILE, MAX_EXAMPLES, example_files
from modpm.core.system.whole_files import explained
from modpm.registry.publication import publishing

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from PIL import Image

    from modpm.core.formats.distribution import Distribution
    from modpm.core.formats.manifest import InputContract
    from modpm.registry.backends.protocol import Published
    from modpm.registry.signing.keys import SigningKey

MIN_SIDE, MAX_SIDE = 160, 256
"""Between these is the longer side that a large example image is brought to, in pixels."""


def publish(
    paths: Sequence[str | os.PathLike[str]],
    registry: str | os.PathLike[str] | None = None,
    *,
    tag: str | None = None,
    key: SigningKey | None = None,
    examples: str | os.PathLike[str] | None = None,
    dry_run: bool = False,
) -> list[Published]:
    """Publish distributions: all of them, or none where the registry can keep to that.

    Args:
        paths: Distributions, or folders of them as `modularize` makes.
        registry: A folder or URL; by default the one that `MODPM_REGISTRY` names, else that under
            `MODPM_HOME`.
        tag: A tag that is to stand for each of the releases.
        key: What they are signed with, which leaves their folders as they are; None to publish
            them with the signatures that they have.
        examples: A folder of up to eight images that are shown with the modules, or of a folder of
            images for each, called as the module is without its namespace. They are published
            small, without what cameras note, and with what each module says of them; the folders
            of the distributions stay as they are. They are published under the license of the
            release.
        dry_run: Check everything, and change nothing.

    Returns:
        One for each distribution, compositions last; `is_new` is false where the same bytes were
        published before.

    Raises:
        ModpmError: `not-a-distribution`, or what `verify_distribution` raises;
            `incomplete-distribution`, naming everything that is missing of any;
            `incomplete-composition`, if the registry does not have what a composition or a
                variant is made of;
            `bad-signature`; `other-signer` or `unsigned`, if those who know a namespace would
            refuse a new release of it; `version-taken`, if other bytes were published under the
            same versions;
            `invalid-tag`; `not-a-registry`, `busy`, `disk-full`, `permission-denied`, and what else
            the registry's kind raises; of examples `no-images`, `bad-image`, `bad-setting` for more
            than eight, `is-composition`, `score-not-finite`.
    """
    if examples is None:
        return publishing.publish(paths, registry, tag=tag, key=key, dry_run=dry_run)
    with _with_examples(paths, Path(examples).expanduser(), is_signed_anew=key is not None) as made:
        return publishing.publish(made, registry, tag=tag, key=key, dry_run=dry_run)


@contextmanager
def _with_examples(
    paths: Sequence[str | os.PathLike[str]], folder: Path, *, is_signed_anew: bool
) -> Iterator[list[Path]]:
    """Give the distributions with example images, beside the user's folders and not in them."""
    with tempfile.TemporaryDirectory(prefix="modpm-") as beside:
        with explained("publish"):
            distributions = publishing.ready_distributions(paths)
            chosen = [_images(folder, one) for one in distributions]
            if not any(chosen):
                raise _no_images(folder)
            made: list[Path] = []
            for i, (one, images) in enumerate(zip(distributions, chosen, strict=True)):
                if images and not is_signed_anew and (one.folder / SIGNATURE_FILE).exists():
                    raise _signed_before(one)
                made.append(_exampled(one, images, Path(beside) / str(i)) if images else one.folder)
        yield made


def _images(folder: Path, distribution: Distribution) -> list[Path]:
    """Return the example images of a module, in the order of their names.

    Raises:
        ModpmError: `no-images`, if there is no such folder; `bad-setting`; `is-composition`.
    """
    if not folder.is_dir():
        raise _no_images(folder)
    own = folder / ModuleName.parse(distribution.module_manifest.name).name
    at = own if own.is_dir() else folder
    found = sorted(p for p in at.iterdir() if p.is_file() and not p.name.startswith("."))
    if len(found) > MAX_EXAMPLES:
        raise ModpmError(
            f"{len(found)} example images are too many",
            code="bad-setting",
            where=str(at),
            hint=f"choose {MAX_EXAMPLES} of them at most",
            exit_code=2,
        )
    return found


def _exampled(distribution: Distribution, images: Sequence[Path], folder: Path) -> Path:
    """Write the distribution anew, with the images and what the module says of them."""
    from modpm.core.classifiers.class_module import ClassModule  # noqa: PLC0415 -- imports torch
    from modpm.core.data import open_image  # noqa: PLC0415 -- as above
    from modpm.core.formats.card import card_with_examples  # noqa: PLC0415 -- slow to import
    from modpm.core.formats.manifest import Example  # noqa: PLC0415 -- as above

    module = ClassModule.from_folder(distribution.folder, distribution.digest)
    before = distribution.module_manifest
    small = [_small(open_image(path), before.input) for path in images]
    scores = [round(score, 2) for score in module.score_images(small).tolist()]
    if not all(map(math.isfinite, scores)):
        raise ModpmError(
            f"`{before.name}` gives no score of an example image",
            code="score-not-finite",
            where=str(images[[math.isfinite(score) for score in scores].index(False)]),
            why="its arithmetic overflows",
            hint="choose another image, or do not publish the module",
        )
    after = msgspec.structs.replace(before, examples=[Example(score=score) for score in scores])
    names = example_files(MAX_EXAMPLES)
    kept = (*before.files, *(name for name in before.all_pictures if name not in names))
    files = {name: (distribution.folder / name).read_bytes() for name in kept}
    files[CARD_FILE] = card_with_examples(files[CARD_FILE].decode(), before, after).encode()
    files |= zip(names, map(_as_png, small), strict=False)
    return write_distribution(folder, after, files).folder


def _small(image: Image.Image, contract: InputContract) -> Image.Image:
    """Return an image as it is published: its pixels alone, no larger than they must be."""
    from PIL import Image  # noqa: PLC0415 -- as above

    side = min(max(MIN_SIDE, contract.height, contract.width), MAX_SIDE)
    image.thumbnail((side, side), Image.Resampling.BICUBIC)
    return Image.frombytes(image.mode, image.size, image.tobytes())


def _as_png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()


def _no_images(folder: Path) -> ModpmError:
    return ModpmError(
        "there are no example images",
        code="no-images",
        where=str(folder),
        why="it holds no file" if folder.is_dir() else "there is no such folder",
        hint=f"give a folder of up to {MAX_EXAMPLES} images, or of a folder of images for each "
        "module, called `cat` for `cifar10/cat`",
    )


def _signed_before(distribution: Distribution) -> ModpmError:
    return ModpmError(
        f"`{distribution.folder.name}` was signed without example images",
        code="bad-signature",
        where=str(distribution.folder),
        why="they are part of the release, and so of what is signed",
        hint="sign while publishing, by `--sign KEY`",
    )
