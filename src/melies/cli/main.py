"""The command `melies`: find the verb, call it, print its answer; a mistake is one line and exit code 2."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Iterator, Sequence

from melies.cli.verbs import GROUPS, VERBS, help_text
from melies.errors import UserError, choose, nearest
from melies.version import __version__

_DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: The words after `melies`; those of the process when None.

    Returns:
        0 when done, 1 when something that was checked is not well or a run failed, 2 after a user's
        mistake, 130 after Ctrl-C.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    with contextlib.suppress(AttributeError, ValueError):  # a terminal of another encoding shows what it can
        sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    json = "--json" in _options(argv)
    try:
        return _run(argv, json)
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        _forget_stdout()
        return 128 + getattr(signal, "SIGPIPE", 13)
    except KeyboardInterrupt:
        resume = (
            "; the same command with --resume goes on from the last checkpoint"
            if argv[:1] in (["train"], ["ladder"])
            else ""
        )
        return _fail(UserError(f"stopped by Ctrl-C; what was written whole is kept{resume}"), 130, json)
    except UserError as error:
        return _fail(error, 2, json)
    except Exception as error:
        found = _explain(error)
        if found is None:
            if json:
                _print_error(UserError(f"{type(error).__name__}: {error}"))
            raise
        return _fail(found[0], found[1], json)


def _run(argv: list[str], json: bool) -> int:
    first = argv[0] if argv else ""
    if not argv:
        raise UserError("no verb given", remedy=f"Valid: {', '.join(VERBS)}; see `melies --help`")
    if first in ("-h", "--help", "help") and len(argv) == 1:
        print(help_text())
        return 0
    if first == "--version":
        print(f"melies {__version__}")
        return 0
    if first == "help":
        argv = [*argv[1:], "--help"]
    if " ".join(argv[:-1]) in GROUPS and argv[-1] in ("-h", "--help"):
        print(help_text(" ".join(argv[:-1])))
        return 0
    verb, rest = find_verb(argv)

    from melies.cli.output import Output, print_answer
    from melies.machine import keep_freed_memory
    from melies.optional import import_from

    keep_freed_memory()

    call = import_from(VERBS[verb].call)
    # With --json nothing else may reach standard output, whatever a library prints.
    helping = any(word in ("-h", "--help") for word in _options(rest))
    with contextlib.redirect_stdout(sys.stderr) if json and not helping else contextlib.nullcontext():
        try:
            answer = call(rest)
        except SystemExit as stop:  # the parser printed its help
            return int(stop.code or 0)
    print_answer(answer, Output(quiet="--quiet" in _options(rest), json=json))
    return answer.code


def find_verb(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The verb, of one word or several, that `argv` begins with, and what follows it.

    Raises:
        UserError: If there is none of that name; the nearest is named.
    """
    first, rest = argv[0], list(argv[1:])
    names = list(dict.fromkeys(name.split()[0] for name in VERBS))
    if first not in names:
        # `melies add` and `melies show` mean the verbs that end so.
        pairs = {name.split()[-1]: name for name in reversed(VERBS) if " " in name}
        guess = first if first in pairs else None if nearest(first, names) else nearest(first, pairs)
        if guess:
            raise UserError(f"unknown verb {first!r}", remedy=f"did you mean {pairs[guess]!r}?")
        choose(first, names, "verb")
    found = first
    while longer := _one_word_more(found):
        if not rest or rest[0].startswith("-"):
            break
        found, rest = choose(f"{found} {rest[0]}", longer, "verb"), rest[1:]
    if found not in VERBS:
        following = ", ".join(name.split()[-1] for name in _one_word_more(found))
        number = "second" if found == first else "third"
        raise UserError(f"{found!r} needs a {number} word", remedy=f"Valid: {following}")
    return found, rest


def _one_word_more(words: str) -> dict[str, str]:
    """The verbs, and beginnings of verbs, that go one word on; each under its own name."""
    count = len(words.split()) + 1
    longer = [" ".join(name.split()[:count]) for name in VERBS if name.startswith(f"{words} ")]
    return {name: name for name in longer}


def _options(argv: Sequence[str]) -> Iterator[str]:
    """The words before `--`, after which all are prompts."""
    for word in argv:
        if word == "--":
            return
        yield word


def _explain(error: Exception) -> tuple[UserError, int] | None:
    """The one sentence and the exit code for what is not a defect of melies; None for what is."""
    if disk := _full_disk(error):
        return disk, 2
    if isinstance(error, OSError) and error.strerror and error.filename:
        return UserError(error.strerror.lower(), where=str(error.filename)), 2
    torch = sys.modules.get("torch")
    no_memory = isinstance(error, MemoryError) or "can't allocate memory" in str(error)
    if no_memory or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return UserError(
            "not enough memory", remedy="ask for fewer or smaller pictures at once (--batch, --size)"
        ), 2
    if isinstance(error, FloatingPointError):  # the training loop's own message says where and what to do
        return UserError(str(error)), 1
    return None


def _full_disk(error: BaseException | None) -> UserError | None:
    """An error for a full disk, however deep a library has wrapped it."""
    seen = 0
    while error is not None and seen < 10:
        number = error.errno if isinstance(error, OSError) else None
        if number in _DISK_FULL or "No space left on device" in str(error):
            where = str(getattr(error, "filename", None) or "")
            return UserError(
                "the disk is full; nothing half-written is left", where=where, remedy="make room, try again"
            )
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def _fail(error: UserError, code: int, json: bool) -> int:
    if os.environ.get("MELIES_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exc()
    message = " ".join(str(error).split())
    print(f"melies: {message}", file=sys.stderr, flush=True)
    if json:
        _print_error(error)
    return code


def _print_error(error: UserError) -> None:
    from melies.cli.output import print_json

    print_json(
        {
            "error": " ".join(str(error).split()),
            "what": error.what,
            "where": error.where,
            "remedy": error.remedy,
        }
    )


def _forget_stdout() -> None:
    # Python would complain once more while it closes the stream.
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
