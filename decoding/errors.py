"""What can be wrong with a picture; `str(error)` says what came, what is wrong with it and what is accepted.

PictureError
├── EmptyImage           no bytes at all
├── NotAnImage           not a picture, or a damaged one
├── UnsupportedFormat    a picture in a format, or with pixels, that are not accepted
└── ImageTooLarge        more pixels than the limits allow
"""


class PictureError(ValueError):
    """Base of all errors about the bytes of a picture."""


class EmptyImage(PictureError):
    pass


class NotAnImage(PictureError):
    pass


class UnsupportedFormat(PictureError):
    pass


class ImageTooLarge(PictureError):
    pass
