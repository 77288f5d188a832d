"""Which bands of a raster stand for red, green and blue, and which is its mask."""

from collections.abc import Sequence

from rasterio.enums import ColorInterp, MaskFlags

from rszsl.errors import SceneError

RGB = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)


def choose_bands(
    count: int, colours: Sequence[ColorInterp], asked: Sequence[int] | None, path: str
) -> tuple[tuple[int, int, int], str | None]:
    """Choose three bands (1-based) as red, green and blue.

    The user's choice first; else the colour interpretation; else bands 1, 2, 3; a single band is repeated.

    Returns:
        The bands, and a warning for the user where the choice is a guess.

    Raises:
        SceneError: for a band that does not exist, a choice of other than one or three bands, or a palette.
    """
    if asked is not None:
        return _check_asked(count, asked, path), None
    if ColorInterp.palette in colours:
        raise SceneError(f"{path} holds palette numbers, not colours; expand it first: gdal_translate -expand rgb")
    if set(RGB) <= set(colours):
        red, green, blue = (list(colours).index(c) + 1 for c in RGB)
        return (red, green, blue), None
    data = [i + 1 for i, c in enumerate(colours) if c != ColorInterp.alpha]
    if not data:
        raise SceneError(f"{path} has no data band, only alpha")
    if len(data) < 3:
        return (data[0], data[0], data[0]), None
    warning = f"{path} does not say which bands are red, green and blue: took 1,2,3; give --bands if that is wrong"
    return (data[0], data[1], data[2]), warning


def _check_asked(count: int, asked: Sequence[int], path: str) -> tuple[int, int, int]:
    for band in asked:
        if not 1 <= band <= count:
            raise SceneError(f"{path} has no band {band}: it has bands 1 to {count}; correct --bands")
    if len(asked) == 1:
        return (asked[0], asked[0], asked[0])
    if len(asked) != 3:
        raise SceneError(f"--bands names {len(asked)} bands for {path}; name three (red, green, blue) or one")
    return (asked[0], asked[1], asked[2])


def mask_bands(flags: Sequence[Sequence[MaskFlags]], bands: Sequence[int]) -> tuple[int, ...]:
    """Bands whose masks say what is valid: none, the one mask of the whole file, or each chosen band's own."""
    chosen = [flags[b - 1] for b in bands]
    if all(MaskFlags.all_valid in f for f in chosen):
        return ()
    if any(MaskFlags.per_dataset in f for f in chosen):
        return (bands[0],)
    return tuple(dict.fromkeys(bands))
