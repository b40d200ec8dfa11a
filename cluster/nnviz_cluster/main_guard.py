"""Would the processes that a script starts run the script again?

Python starts a process by importing the main script there, under another name. Without
``if __name__ == "__main__":`` around it, what starts workers is run by every worker,
and none of them comes up. The parent can see that before it starts any.
"""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from types import FrameType

from nnviz.errors import ConfigError

__all__ = ["check_main_guard"]


def check_main_guard() -> None:
    """Refuse to start processes from a script that they would run again.

    Raises
    ------
    ConfigError
        With the script, the line, and what to write around it.
    """
    main = sys.modules.get("__main__")
    file = getattr(main, "__file__", None)
    spec = getattr(main, "__spec__", None)
    # What is run with -m from a package's __main__ is not imported again.
    if file is None or str(getattr(spec, "name", "")).endswith("__main__"):
        return
    frame = _frame_of_script(file)
    if frame is None or _is_guarded(Path(file), frame.f_lineno):
        return
    msg = (
        f"line {frame.f_lineno} of {file!r} starts worker processes, and each of them "
        f"imports this file and would start them again; "
        f'write if __name__ == "__main__": around what the file does'
    )
    raise ConfigError(msg)


def _frame_of_script(file: str) -> FrameType | None:
    """Return the frame of the main script's own lines; None if they have ended."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        is_main = frame.f_globals.get("__name__") == "__main__"
        if is_main and frame.f_code.co_name == "<module>":
            return frame if frame.f_code.co_filename == file else None
        frame = frame.f_back
    return None


def _is_guarded(path: Path, line: int) -> bool:
    """Whether a line stands under a question for the module's or process' name."""
    try:
        parsed = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return True  # no script that a process could import again
    return any(
        isinstance(node, ast.If)
        and node.lineno <= line <= (node.end_lineno or node.lineno)
        and any(word in ast.unparse(node.test) for word in ("__main__", "MainProcess"))
        for node in parsed.body
    )
