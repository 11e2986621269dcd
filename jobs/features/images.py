"""Image files -> histograms of gradients and of colours, a batch of images at a time.

The gradient histograms are those of Dalal and Triggs, "Histograms of oriented gradients for human detection" (2005),
with their best settings: no smoothing, centred differences, of the colour channels the one with the strongest gradient,
9 unsigned directions with each vote shared by the two nearest, cells of 8 x 8 pixels, overlapping blocks of 2 x 2
cells, each scaled to length 1, clipped at 0.2 and scaled again. Left out is the sharing of votes between cells.
"""

import functools
import io
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mapreduce import Context

CELL = 8  # pixels of a cell's side
DIRECTIONS = 9  # of gradients, over half a turn
CLIP = 0.2  # of a block's unit length that one direction may take: else a single edge is all that is seen
FAINT = 1e-3  # of a block's length: blocks without an edge stay near 0, and their noise is not blown up
LEVELS = 4  # of each colour channel, so that there are LEVELS**3 colours
SIDES = range(2 * CELL, 513, CELL)  # of the squares that images are scaled to; a block takes two cells
DIGITS = 6  # kept of each number: well above the rounding of sums, far below what tells images apart
KINDS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow starts no program to read them, as for EPS

Vectors = dict[str, list[float]]
Floats = NDArray[np.float64]


def described(
    paths: list[str], contents: list[bytes], *, ctx: Context, side: int = 32
) -> Iterator[tuple[str, Vectors]]:
    """Yield the vectors of each image among some files, made from it scaled to `side` x `side` pixels.

    Files that are no image, or a broken one, go to the output "refused" with the reason.
    """
    if side not in SIDES:
        msg = f"side={side}: a multiple of {CELL} from {SIDES[0]} to {SIDES[-1]} is wanted"
        raise ValueError(msg)
    names, squares = [], []
    for path, content in zip(paths, contents, strict=True):
        pixels, reason = square(content, side)
        if pixels is None:
            ctx.counters["files refused"] += 1
            ctx.outputs["refused"].write(path, reason)
        else:
            names.append(path)
            squares.append(pixels)
    if not squares:
        return
    ctx.counters["images"] += len(squares)
    batch = np.stack(squares)
    rows = zip(gradients(batch).round(DIGITS), colours(batch).round(DIGITS), strict=True)
    for path, (edges, shares) in zip(names, rows, strict=True):
        yield path, {"gradients": edges.tolist(), "colours": shares.tolist()}


@functools.cache
def pillow() -> ModuleType:
    """Give Pillow's Image module. Raises ModuleNotFoundError that says what to install."""
    try:
        from PIL import Image  # noqa: PLC0415 - the other jobs beside this one do without
    except ModuleNotFoundError:
        msg = "images are read with Pillow, which is not installed here: pip install 'mapreduce-engine[demos]'"
        raise ModuleNotFoundError(msg) from None
    return Image


def square(content: bytes, side: int) -> tuple[NDArray[np.uint8] | None, str]:
    """Give an image's pixels (side x side x 3, uint8) and ""; or None and why they cannot be had."""
    image_module = pillow()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", image_module.DecompressionBombWarning)
            with image_module.open(io.BytesIO(content), formats=KINDS) as image:
                scaled = image.convert("RGB").resize((side, side), image_module.Resampling.BILINEAR)
    except image_module.UnidentifiedImageError:
        return None, f"none of {', '.join(KINDS)}"
    except (image_module.DecompressionBombWarning, image_module.DecompressionBombError) as error:
        return None, str(error)
    except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises for broken files, by their format
        return None, f"broken: {error}"
    return np.asarray(scaled), ""


def gradients(images: NDArray[np.uint8]) -> Floats:
    """Describe n images (n x height x width x 3) by the directions of their edges, a row each.

    A row has, for each block from the top left, its 4 cells' DIRECTIONS numbers. Both sides are multiples of CELL.
    """
    n, height, width, _ = images.shape
    strengths, angles = strongest(images.astype(np.float64))
    place = angles * (DIRECTIONS / np.pi) - 0.5  # in directions, from the middle of the first
    low = np.floor(place).astype(np.int64)
    to_upper = place - low
    rows, columns = height // CELL, width // CELL
    cell = (np.arange(height) // CELL)[:, None] * columns + np.arange(width) // CELL
    first = (np.arange(n)[:, None, None] * (rows * columns) + cell) * DIRECTIONS
    size = n * rows * columns * DIRECTIONS
    votes = np.bincount((first + low % DIRECTIONS).ravel(), (strengths * (1 - to_upper)).ravel(), size)
    votes += np.bincount((first + (low + 1) % DIRECTIONS).ravel(), (strengths * to_upper).ravel(), size)
    cells = votes.reshape(n, rows, columns, DIRECTIONS)
    corners = (cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:])
    blocks = to_unit_length(np.concatenate(corners, axis=-1))
    described_blocks: Floats = to_unit_length(np.minimum(blocks, CLIP)).reshape(n, -1)
    return described_blocks


def strongest(pixels: Floats) -> tuple[Floats, Floats]:
    """Give the strength, and the angle from 0 to pi, of each pixel's gradient in the channel where it is strongest."""
    edged = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    across = edged[:, 1:-1, 2:] - edged[:, 1:-1, :-2]
    down = edged[:, 2:, 1:-1] - edged[:, :-2, 1:-1]
    strengths = np.sqrt(across * across + down * down)
    channel = strengths.argmax(axis=-1)[..., None]

    def chosen(values: Floats) -> Any:
        return np.take_along_axis(values, channel, axis=-1)[..., 0]

    return chosen(strengths), np.arctan2(chosen(down), chosen(across)) % np.pi


def to_unit_length(blocks: Floats) -> Floats:
    """Scale the last axis to length 1; what is faint stays so."""
    scaled: Floats = blocks / np.sqrt((blocks * blocks).sum(axis=-1, keepdims=True) + FAINT * FAINT)
    return scaled


def colours(images: NDArray[np.uint8]) -> Floats:
    """Give the share of each of the LEVELS**3 colours in n images (n x height x width x 3), a row each.

    A colour's number is (red * LEVELS + green) * LEVELS + blue, the levels from 0, dark, to LEVELS - 1.
    """
    n, height, width, _ = images.shape
    level = images.astype(np.int64) * LEVELS // 256
    number = (level[..., 0] * LEVELS + level[..., 1]) * LEVELS + level[..., 2]
    kinds = LEVELS**3
    first = np.arange(n)[:, None, None] * kinds
    shares: Floats = np.bincount((first + number).ravel(), minlength=n * kinds).reshape(n, kinds) / (height * width)
    return shares
