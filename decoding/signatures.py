"""Which format bytes are in, by their signature; formats that are not accepted are known too, to be named."""

import importlib.util
import re

PLUGINS = {"PNG": "PNG", "JPEG": "JPEG", "WebP": "WEBP", "GIF": "GIF", "BMP": "BMP", "TIFF": "TIFF", "AVIF": "AVIF"}
"""The accepted formats, and Pillow's name for what reads them."""
EXTENSIONS = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif"}
"""Of files in these formats, in lower case."""
if importlib.util.find_spec("pillow_heif"):
    PLUGINS["HEIC"] = "HEIF"
    EXTENSIONS |= {".heic", ".heif"}
ACCEPTED = ", ".join(PLUGINS)

SIGNATURES = [
    (name, re.compile(pattern, re.DOTALL))
    for name, pattern in {
        "PNG": rb"\x89PNG\r\n\x1a\n",
        "JPEG": rb"\xff\xd8\xff",
        "WebP": rb"RIFF....WEBP",
        "GIF": rb"GIF8[79]a",
        "Canon CR2 (raw)": rb"(II\*\0|MM\0\*)....CR",
        "TIFF": rb"II[*+]\0|MM\0[*+]",
        "BMP": rb"BM.{12}[\x0c\x10\x28\x34\x38\x40\x6c\x7c]\0\0\0",
        "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
        "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
        "JPEG XR": rb"II\xbc\x01",
        "Photoshop PSD": rb"8BPS",
        "ICO": rb"\0\0\x01\0",
        "a Windows cursor": rb"\0\0\x02\0[^\0]\0",
        "TGA": rb"\0[\0\x01][\x01-\x03\x09-\x0b].{5}\0\0\0\0",
        "ICNS": rb"icns",
        "OpenEXR": rb"v/1\x01",
        "Radiance HDR": rb"#\?(RADIANCE|RGBE)",
        "DDS": rb"DDS ",
        "QOI": rb"qoif",
        "FLIF": rb"FLIF",
        "BPG": rb"BPG\xfb",
        "PCX": rb"\x0a[\x00-\x05]\x01",
        "SGI": rb"\x01\xda",
        "Sun raster": rb"\x59\xa6\x6a\x95",
        "XCF": rb"gimp xcf",
        "DjVu": rb"AT&TFORM",
        "FITS": rb"SIMPLE  =",
        "DICOM": rb".{128}DICM",
        "NumPy": rb"\x93NUMPY",
        "PNM": rb"P[1-7]\s",
        "Fujifilm RAF (raw)": rb"FUJIFILMCCD-RAW",
        "Olympus ORF (raw)": rb"IIR[OS]",
        "Panasonic RW2 (raw)": rb"IIU\0",
        "PDF": rb"%PDF",
        "PostScript": rb"%!PS",
        "WMF": rb"\xd7\xcd\xc6\x9a",
        "AVI video": rb"RIFF....AVI ",
        "WebM or Matroska video": rb"\x1a\x45\xdf\xa3",
        "a ZIP archive": rb"PK\x03\x04",
        "data compressed by gzip": rb"\x1f\x8b",
    }.items()
]
# ISO media files (ISO/IEC 14496-12) name their kind in brands after `ftyp`: the major one, then all compatible ones.
BRANDS = {
    "HEIC": {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"MiHE"},
    "AVIF": {b"avif", b"avis", b"MA1A", b"MA1B"},
    "Canon CR3 (raw)": {b"crx "},
    "JPEG XL": {b"jxl "},
    "JPEG 2000": {b"jp2 ", b"jpx ", b"jpm "},
    "HEIF": {b"mif1", b"msf1", b"mif2", b"miaf"},
    "MP4 or QuickTime video": {
        b"isom",
        b"iso2",
        b"iso4",
        b"iso5",
        b"iso6",
        b"mp41",
        b"mp42",
        b"avc1",
        b"qt  ",
        b"M4V ",
    },
}
TEXTS = {
    "SVG": (b"<svg",),
    "an HTML page": (b"<!doctype html", b"<html"),
    "XML": (b"<?xml", b"<!--"),
}


def identify(content: bytes) -> str | None:
    """The name of the format, or None where it is not known."""
    for name, signature in SIGNATURES:
        if signature.match(content):
            return name
    if content.startswith(b"ftyp", 4):
        return brand(content)
    return text(content[:4096])


def brand(content: bytes) -> str:
    """HEIF says how pictures are kept, not how they are coded: then a compatible brand tells."""
    end = min(int.from_bytes(content[:4], "big"), 256)
    compatible = {content[place : place + 4] for place in range(16, end - 3, 4)}
    major = content[8:12]
    name = next((name for name, known in BRANDS.items() if major in known), "an ISO media file of an unknown brand")
    if name == "HEIF":
        return next((codec for codec in ("HEIC", "AVIF") if BRANDS[codec] & compatible), name)
    return name


def text(start: bytes) -> str | None:
    """What is written in angle brackets."""
    lowered = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    name = next((name for name, starts in TEXTS.items() if lowered.startswith(starts)), None)
    return "SVG" if name == "XML" and b"<svg" in lowered else name
