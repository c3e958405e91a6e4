"""Runs the notebooks of this folder from the first cell to the last, as CI does.

`python notebooks/run.py` runs all of them, each in an empty folder of its own with this very
Python, and says how long each took and what it shows; names choose some. `--write` puts the new
outputs into the committed files, whole or not at all. What belongs to one run or one machine
alone (times of cells, the Python's release, folders) is left out, or refused where it cannot be.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from PIL import Image

HERE = Path(__file__).resolve().parent
MAX_BYTES = 600_000  # of a notebook with its outputs, as committed
CELL_SECONDS = 300  # a cell that takes longer is stuck
_METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
COLOURS = 96  # of a picture: a third of the bytes, and no eye misses the others
_TRACES = ("site-packages", " at 0x", "Traceback")


class NotebookError(Exception):
    """A notebook that cannot be committed as it came out."""


class _ThisPython(KernelSpecManager):
    """Finds the interpreter that runs this script, whatever kernels are installed."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        launch = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=launch, display_name=kernel_name, language="python")


@dataclass(frozen=True)
class Shown:
    """What a notebook shows: how many pictures and players, and the bytes of the whole file."""

    pictures: int
    players: int
    num_bytes: int


def notebook_paths(names: Sequence[str] = ()) -> list[Path]:
    """The notebooks of this folder, in order; those whose file name starts with one of `names`."""
    return [
        path
        for path in sorted(HERE.glob("*.ipynb"))
        if not names or any(path.name.startswith(name) for name in names)
    ]


def read_notebook(path: str | Path) -> NotebookNode:
    """A notebook as it lies there, checked against the format."""
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def execute(path: str | Path, folder: str | Path) -> NotebookNode:
    """Run a notebook and return it with new outputs; the file stays as it is.

    folder: the kernel works in it, and keeps all it writes there (settings, caches, KOUJI_HOME)
    raises: nbclient's CellExecutionError for a cell that fails or takes too long
    """
    folder = Path(folder)
    notebook = read_notebook(path)
    for cell in _code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    private = {
        "KOUJI_HOME": "home",
        "IPYTHONDIR": ".ipython",
        "MPLCONFIGDIR": ".matplotlib",
        "JUPYTER_RUNTIME_DIR": ".jupyter",
    }
    environment = {name: str(folder / place) for name, place in private.items()}
    # Sockets in files: ports could be taken by the next run beside this one between choosing and
    # opening. Their paths must be short, so they do not lie in `folder`.
    with tempfile.TemporaryDirectory(prefix="nb") as sockets:
        manager = AsyncKernelManager(
            kernel_name="python3",
            kernel_spec_manager=_ThisPython(),
            transport="ipc" if os.name == "posix" else "tcp",
            connection_file=str(Path(sockets) / "k"),
        )
        client = NotebookClient(
            notebook,
            km=manager,
            timeout=CELL_SECONDS,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(folder)}},
        )
        # A manager of ours is not ended by nbclient unless it is told to.
        client.execute(env={**os.environ, **environment}, cleanup_kc=True)
    return clean(notebook)


def clean(notebook: NotebookNode) -> NotebookNode:
    """Leave out what belongs to one run alone; changes the notebook and returns it."""
    notebook.metadata = nbformat.from_dict(_METADATA)
    for cell in notebook.cells:
        cell.metadata = nbformat.from_dict({})
    for number, cell in enumerate(_code_cells(notebook), 1):
        cell.execution_count = number
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
            if output.output_type in ("execute_result", "display_data"):
                output.metadata = nbformat.from_dict({})
                if "image/png" in output.data:
                    output.data["image/png"] = shrink_picture(output.data["image/png"])
    return notebook


def shrink_picture(png: str) -> str:
    """The same picture in few colours; PNG in base64 in and out."""
    with Image.open(io.BytesIO(base64.b64decode(png))) as picture:
        if picture.mode == "P":  # it was done before
            return png
        few = picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    file = io.BytesIO()
    few.save(file, "PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode()


def check_outputs(notebook: NotebookNode, *folders: str | Path) -> None:
    """Refuse outputs that tell of this machine, or that make the file too large.

    folders: paths that must not be named, beside the home folder and the one of temporary files
    raises:  NotebookError
    """
    places = {str(folder) for folder in (*folders, Path.home(), tempfile.gettempdir())} - {"/"}
    for cell in _code_cells(notebook):
        for text in output_texts(cell):
            for trace in (*sorted(places), *_TRACES):
                if trace in text:
                    raise NotebookError(f"cell {cell.id} shows {trace!r}: {text[:300]}")
    num_bytes = measure(notebook).num_bytes
    if num_bytes > MAX_BYTES:
        raise NotebookError(f"{num_bytes} bytes with outputs, more than {MAX_BYTES}")


def measure(notebook: NotebookNode) -> Shown:
    """Count what a notebook shows."""
    shown = [output.get("data", {}) for cell in _code_cells(notebook) for output in cell.outputs]
    return Shown(
        pictures=sum("image/png" in data for data in shown),
        players=sum("<audio" in data.get("text/html", "") for data in shown),
        num_bytes=len(nbformat.writes(notebook).encode()),
    )


def write_notebook(path: Path, notebook: NotebookNode) -> None:
    """Put a notebook in the place of the file: all of it, or nothing."""
    temporary = path.with_suffix(".tmp")
    temporary.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    temporary.replace(path)


def output_texts(cell: NotebookNode) -> Iterator[str]:
    """All that a cell's outputs say in words."""
    for output in cell.outputs:
        if output.output_type == "stream":
            yield output.text
        elif output.output_type == "error":
            yield "\n".join(output.traceback)
        else:
            yield from (text for kind, text in output.data.items() if kind == "text/plain")


def _code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def main() -> int:
    """Run what the command line names; exit code 1 if a notebook cannot be committed."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("names", nargs="*", help="beginnings of file names; all without any")
    parser.add_argument("--write", action="store_true", help="keep the outputs in the files")
    arguments = parser.parse_args()
    code = 0
    for path in notebook_paths(arguments.names):
        began = time.perf_counter()
        with tempfile.TemporaryDirectory(prefix="notebook-") as folder:
            try:
                notebook = execute(path, folder)
                check_outputs(notebook, folder, HERE.parent)
            except (NotebookError, CellExecutionError) as error:
                print(f"{path.name}: {error}", file=sys.stderr)
                code = 1
                continue
        shown = measure(notebook)
        print(
            f"{path.name}: {time.perf_counter() - began:.0f} s, {shown.pictures} pictures, "
            f"{shown.players} players, {shown.num_bytes / 1000:.0f} kB"
        )
        if arguments.write:
            write_notebook(path, notebook)
    return code


if __name__ == "__main__":
    sys.exit(main())
