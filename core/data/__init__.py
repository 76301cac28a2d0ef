"""Data sets, decoded once to bytes; splits, augmentation, and single images for prediction."""

from modpm.core.data.augmenting import augment, is_mirrorable
from modpm.core.data.from_memory import Data, as_data
from modpm.core.data.given_images import OWN_DATA, GivenImages
from modpm.core.data.image_data import ImageData, aligned, check_trainable
from modpm.core.data.image_files import decode_image, open_image, prepare_image
from modpm.core.data.load import load_data, outline
from modpm.core.data.normalization import check_statistics, default_statistics, normalize
from modpm.core.data.splitting import carve_validation

__all__ = [
    "OWN_DATA",
    "Data",
    "GivenImages",
    "ImageData",
    "aligned",
    "as_data",
    "augment",
    "carve_validation",
    "check_statistics",
    "check_trainable",
    "decode_image",
    "default_statistics",
    "is_mirrorable",
    "load_data",
    "normalize",
    "open_image",
    "outline",
    "prepare_image",
]
