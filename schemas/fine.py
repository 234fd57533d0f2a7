"""Where inside a cell: the shares of its squares in what is expected of it, a constant of the artifact.

    fine.safetensors    cell       int32 (rows,)            index in the grid
                        category   int16 (rows,)            position in the spec's categories; -1: over all of them
                        share      float16 (rows, squares)  of each square, sums to 1

Rows are in the order of cells, and of categories in a cell. A category without a row has the cell's row over all, a
cell without that one even shares. Squares count as cells do: from the south-west of their cell, row by row.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load, save

from schemas.errors import ArtifactError, RiskError, SinkError
from schemas.files import read_regular_file, replace_file, sha256, write_errors
from schemas.grid import Cells, Floats, Grid
from schemas.limits import MAX_FINE_BYTES, MAX_MANIFEST_BYTES
from schemas.spec import Spec

FINE_FILE = "fine.safetensors"
OVER_ALL = -1  # in place of a category
_VERSIONS_KEPT = 3  # beside the frames, of a region
_KINDS: dict[str, tuple[Any, int]] = {"cell": (np.int32, 1), "category": (np.int16, 1), "share": (np.float16, 2)}
_SUM_WITHIN = 0.01  # of 1: 64 shares of 11 bits each


def squares_of(grid: Grid, fine: int, cell: Cells, lat_deg: Floats, lon_deg: Floats) -> npt.NDArray[np.intp]:
    """(n,) the square of each place in its cell. cell: (n,), as `Grid.locate` gives it; all inside the grid.

    >>> grid = Grid(south_deg=41.5, west_deg=-88.0, cell_m=1000, rows=2, cols=3)
    >>> squares_of(grid, 4, *(np.array([of]) for of in (0, 41.5001, -87.9999))).tolist()
    [0]
    """
    lat, lon = (
        (edges[number][:, 1:-1] <= place[:, None]).sum(axis=1)
        for edges, number, place in zip(_edges(grid, fine), np.divmod(cell, grid.cols), (lat_deg, lon_deg), strict=True)
    )
    return np.asarray(lat * fine + lon)


def square_edges(grid: Grid, fine: int) -> tuple[Floats, Floats]:
    """Latitudes (rows * fine + 1,) and longitudes (cols * fine + 1,) of the edges of all squares, degrees."""
    lat, lon = (np.append(edges[:, :-1].ravel(), edges[-1, -1]) for edges in _edges(grid, fine))
    return lat, lon


def _edges(grid: Grid, fine: int) -> list[Floats]:
    """(rows, fine + 1) latitudes and (columns, fine + 1) longitudes of the squares' edges; the outer are the cells'."""
    parts = np.arange(1, fine) / fine
    return [
        np.hstack([edges[:-1, None], edges[:-1, None] + np.diff(edges)[:, None] * parts, edges[1:, None]])
        for edges in grid.corners()
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class FineShares:
    """The rows of the file, and the squares that they are of."""

    grid: Grid
    fine: int  # squares a side of a cell
    cell: Cells  # (rows,)
    category: npt.NDArray[np.int16]  # (rows,)
    share: npt.NDArray[np.floating[Any]]  # (rows, squares)

    def of_category(self, category: int) -> npt.NDArray[np.float32]:
        """(cells, squares) shares of a cell's expected incidents of a category, or OVER_ALL; each cell's sum to 1."""
        shares = np.full((self.grid.cells, self.fine**2), 1 / self.fine**2, np.float32)
        for wanted in (OVER_ALL, category):
            rows = self.category == wanted
            shares[self.cell[rows]] = self.share[rows]
        return np.asarray(shares / shares.sum(axis=1, keepdims=True))

    def in_squares(
        self, means: npt.NDArray[np.float32], cells: Cells, categories: Iterable[int]
    ) -> npt.NDArray[np.float32]:
        """(..., cells, squares) how much of `means` is in each square: the sum over categories, each by its own shares.

        means: (..., all cells, all categories). cells, categories: which of them, by their positions.
        """
        parted = (means[..., cells, category, None] * self.of_category(category)[cells] for category in categories)
        return np.asarray(sum(parted), np.float32)

    @classmethod
    def even(cls, spec: Spec) -> "FineShares":
        arrays = {name: np.zeros((0, spec.fine**2)[:ndim], kind) for name, (kind, ndim) in _KINDS.items()}
        return cls(grid=spec.grid, fine=spec.fine, **arrays)

    def pack(self) -> bytes:
        return bytes(save({name: getattr(self, name) for name in _KINDS}))

    @classmethod
    def unpack(cls, content: bytes, path: Path, spec: Spec) -> "FineShares":
        """Shares from bytes of any origin. Raises ArtifactError for what training under the spec cannot give."""
        try:
            arrays = load(content)
        except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ArtifactError(f"{path} cannot be used ({str(error)[:200]})", "train again") from error
        kinds = {name: (array.dtype, array.ndim) for name, array in arrays.items()}
        if kinds != _KINDS or arrays["share"].shape != (*arrays["cell"].shape, spec.fine**2):
            raise ArtifactError(f"{path} holds no shares of {spec.fine} x {spec.fine} squares", "train again")
        shares = cls(grid=spec.grid, fine=spec.fine, **arrays)
        cell, category, share = shares.cell, shares.category, shares.share
        is_sound = len(cell) == len(category) and bool(((cell >= 0) & (cell < spec.grid.cells)).all())
        is_sound = is_sound and bool(((category >= OVER_ALL) & (category < len(spec.categories))).all())
        is_sound = is_sound and bool((np.diff(cell * (len(spec.categories) + 1) + category) > 0).all())
        sums = share.sum(axis=1, keepdims=True, dtype=np.float32)
        if not is_sound or not ((share > 0) & (np.abs(sums - 1) <= _SUM_WITHIN)).all():
            raise ArtifactError(f"{path} holds no shares of the spec's cells and categories", "train again")
        return shares


class _Manifest(msgspec.Struct, frozen=True):
    spec: Spec
    files: dict[str, dict[str, str | int]]


def read_fine(artifact: Path) -> FineShares | None:
    """The shares of the artifact in a folder; None where its spec asks for none. Raises ArtifactError.

    It loads neither torch nor the rest of the artifact, whose version is not checked: the job does that.
    """
    path, manifest = artifact / FINE_FILE, read_regular_file(artifact / "manifest.json", MAX_MANIFEST_BYTES)
    try:
        content = msgspec.json.decode(manifest, type=_Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RiskError, RecursionError) as error:
        raise ArtifactError(f"the manifest in {artifact} cannot be used ({error})", "train again") from error
    if content.spec.fine == 1:
        return None
    packed = read_regular_file(path, MAX_FINE_BYTES)
    if sha256(packed) != content.files.get(FINE_FILE, {}).get("sha256"):
        raise ArtifactError(f"{path} is damaged, its sha256 is not the manifest's", "copy the artifact again")
    return FineShares.unpack(packed, path, content.spec)


def shares_beside(frames: Path, region: str, version: str) -> Path:
    """Where the job leaves the shares of the version that scores: who serves frames sees no artifact and no counts."""
    return frames / "fine" / region / f"{version}.safetensors"


def leave_shares(frames: Path, artifact: Path, *, compare: bool) -> None:
    """Copy an artifact's shares there, if it has some and they are not there yet. Raises ArtifactError, SinkError.

    compare: a file with other bytes, which is damaged, is written again; it costs reading both.
    """
    path = shares_beside(frames, artifact.parent.name, artifact.name)
    with write_errors(SinkError, path):
        if (not compare and path.exists()) or (shares := read_fine(artifact)) is None:
            return
        content = shares.pack()
        with suppress(OSError):  # missing, or on a part of the disk that cannot be read
            if path.stat().st_size == len(content) and path.read_bytes() == content:
                return
        replace_file(path, content)
        for old in sorted(path.parent.glob("*.safetensors"))[:-_VERSIONS_KEPT]:
            if old != path:
                old.unlink(missing_ok=True)


def read_shares(frames: Path, spec: Spec, version: str) -> FineShares:
    """What the job left of a region's version. Raises ArtifactError."""
    path = shares_beside(frames, spec.region, version)
    return FineShares.unpack(read_regular_file(path, MAX_FINE_BYTES), path, spec)
