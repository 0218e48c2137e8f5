"""The one rule by which training, evaluation and the server see a picture: from the bytes of a file to 8-bit pixels.

A file is recognised by its signature, stripped of what its pixels do not need, decoded, brought to 8 bits over black,
turned upright and resized. Nothing here needs torch or onnxruntime.
"""

from decoding.errors import EmptyImage, ImageTooLarge, NotAnImage, PictureError, UnsupportedFormat
from decoding.picture import REDUCED, Limits, Mode, Picture, Resize, fitted, open_picture, resized
from decoding.pixels import fitted_pixels
from decoding.signatures import ACCEPTED, EXTENSIONS

__all__ = [
    "ACCEPTED",
    "EXTENSIONS",
    "REDUCED",
    "EmptyImage",
    "ImageTooLarge",
    "Limits",
    "Mode",
    "NotAnImage",
    "Picture",
    "PictureError",
    "Resize",
    "UnsupportedFormat",
    "fitted",
    "fitted_pixels",
    "open_picture",
    "resized",
]
