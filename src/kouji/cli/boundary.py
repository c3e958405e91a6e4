"""The boundary: where an error becomes one line on stderr and an exit code, once.

0 done, 1 failure, 2 wrong use, 130 interrupted, 143 terminated. A traceback is shown only
with --debug or KOUJI_DEBUG.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from types import FrameType

from typer.exceptions import Abort, TyperException

from kouji.config import ConfigWarning, debug_requested
from kouji.errors import KoujiError

EXIT_FAILURE, EXIT_USAGE, EXIT_INTERRUPTED, EXIT_TERMINATED = 1, 2, 130, 143


def run_command(arguments: list[str]) -> int:
    """Parse and run; the exit code of what happened."""
    is_debug, arguments = _take_debug(arguments)
    with _readable_warnings(is_debug), _terminated_as_exit():
        try:
            return _invoke(arguments)
        except (Exception, KeyboardInterrupt) as error:
            if is_debug and not isinstance(error, TyperException):
                traceback.print_exc()
            return _report(error, arguments)
        except SystemExit as leaving:  # typer leaves so when the reader of a pipe went away
            _silence_stdout()
            return leaving.code if isinstance(leaving.code, int) else EXIT_FAILURE


def say_to_user(message: str) -> None:
    """One line on stderr: stdout belongs to audio and to data."""
    print(f"kouji: {message}", file=sys.stderr, flush=True)


def _invoke(arguments: list[str]) -> int:
    from kouji.cli.app import app

    code = app(arguments, prog_name="kouji", standalone_mode=False)
    sys.stdout.flush()
    if code == EXIT_INTERRUPTED:  # typer turned a KeyboardInterrupt into this code
        say_to_user("interrupted")
    return code if isinstance(code, int) else 0


def _report(error: BaseException, arguments: list[str]) -> int:
    """Say what went wrong in one line and return the exit code for it."""
    if isinstance(error, KoujiError):
        say_to_user(_one_line(str(error)))
        return error.exit_code
    if isinstance(error, TyperException):
        return _report_usage(error, arguments)
    if isinstance(error, KeyboardInterrupt | Abort):
        say_to_user("interrupted")
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        _silence_stdout()
        return EXIT_FAILURE
    if isinstance(error, OSError) and error.strerror:
        named = f"{error.filename}: " if error.filename else ""
        say_to_user(_one_line(f"{named}{error.strerror}"))
        return EXIT_FAILURE
    if isinstance(error, MemoryError):
        say_to_user("out of memory; close other programs or speak a shorter text")
        return EXIT_FAILURE
    kind = type(error).__name__
    say_to_user(_one_line(f"unexpected {kind}: {error}; run again with --debug and report it"))
    return EXIT_FAILURE


def _report_usage(error: TyperException, arguments: list[str]) -> int:
    """A command line typer could not read: no Usage block, one line, a hint where to look."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        print(error.format_message(), file=sys.stderr)
        return EXIT_USAGE
    command = context.command_path if context is not None else "kouji"
    seen = _typed_value(getattr(error, "param", None), arguments)
    message = _one_line(error.format_message()).rstrip(".") + seen
    if message.startswith("No such option") and command.endswith(" say"):
        message += "; put -- before a text that begins with a dash"
    say_to_user(f"{message}; see {command} --help")
    return error.exit_code


def _typed_value(option: object, arguments: list[str]) -> str:
    """What was typed after the option at fault, as ` (seen: …)`; empty if it has none."""
    names = tuple(getattr(option, "opts", ()))
    for place, argument in enumerate(arguments):
        name, is_joined, value = argument.partition("=")
        if name in names and is_joined:
            return f" (seen: {value})"
        if name in names and place + 1 < len(arguments):
            return f" (seen: {arguments[place + 1]})"
    return ""


def _one_line(message: str) -> str:
    return " ".join(message.split())


def _take_debug(arguments: list[str]) -> tuple[bool, list[str]]:
    """--debug counts wherever it stands before a `--`; typed twice it is still one."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    head = [argument for argument in arguments[:end] if argument != "--debug"]
    is_debug = len(head) < end or debug_requested()
    return is_debug, [*head, *arguments[end:]]


@contextlib.contextmanager
def _readable_warnings(is_debug: bool) -> Iterator[None]:
    """Our own warnings as one line each; those of libraries only for --debug."""
    with warnings.catch_warnings():
        if not is_debug:
            warnings.simplefilter("ignore")
            warnings.filterwarnings("default", module=r"kouji(\.|$)")
            warnings.simplefilter("always", ConfigWarning)

            told: set[str] = set()  # settings may be read twice in one command

            def show(message: Warning | str, *_: object, **__: object) -> None:
                line = _one_line(f"warning: {message}")
                if line not in told:
                    told.add(line)
                    say_to_user(line)

            warnings.showwarning = show
        yield


@contextlib.contextmanager
def _terminated_as_exit() -> Iterator[None]:
    """SIGTERM unwinds like an exception, so that drafts are removed on the way out."""

    def leave(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise SystemExit(EXIT_TERMINATED)

    try:
        previous = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not the main thread: whoever runs us there handles signals
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _silence_stdout() -> None:
    """Nobody reads stdout any more: keep Python from complaining when it closes it."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
